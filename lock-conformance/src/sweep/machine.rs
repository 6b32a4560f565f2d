//! What differs from processor to processor: registers, breakpoints, and the instructions that repeat themselves.

use nix::unistd::Pid;

/// The instruction that a stopped process is going to execute.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Next {
    /// Where it is; 0 where that is not known.
    pub(super) address: u64,
    pub(super) is_system_call: bool,
}

/// An instruction that would have repeated itself more often.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Shortened {
    address: u64,
    /// Where the next one is.
    pub(super) behind: u64,
    left: u64,
}

#[cfg(target_arch = "x86_64")]
mod here {
    use std::mem::offset_of;

    use libc::{c_long, user};
    use nix::sys::ptrace::{self, AddressType};

    use super::{Next, Pid, Shortened};

    pub(crate) const HAS_BREAKPOINTS: bool = true;

    const SYSCALL: u64 = 0x050f;
    const DEBUG_REGISTERS: usize = offset_of!(user, u_debugreg);
    /// Register 7: the address in register 0 is one to stop at before it is executed, in this process alone.
    const STOP_AT_0: c_long = 1;

    pub(crate) fn next(pid: Pid) -> Next {
        let Ok(registers) = ptrace::getregs(pid) else { return Next::default() };
        let is_system_call = code(pid, registers.rip).is_some_and(|code| code & 0xffff == SYSCALL);
        Next { address: registers.rip, is_system_call }
    }

    pub(crate) fn address(pid: Pid) -> nix::Result<u64> {
        Ok(ptrace::getregs(pid)?.rip)
    }

    /// A debug register has the processor stop there: the victim's memory stays as it is.
    pub(crate) fn set_breakpoint(pid: Pid, address: u64) -> nix::Result<()> {
        write_register(pid, 0, address as c_long)?;
        write_register(pid, 7, STOP_AT_0)
    }

    pub(crate) fn clear_breakpoint(pid: Pid) -> nix::Result<()> {
        write_register(pid, 7, 0)
    }

    /// Has the coming instruction, if it is one that fills or copies by repeating itself and has more than `times` left, repeat itself
    /// only so often when it is let go on.
    pub(crate) fn shorten(pid: Pid, times: u64) -> nix::Result<Option<Shortened>> {
        let mut registers = ptrace::getregs(pid)?;
        let Some(length) = code(pid, registers.rip).and_then(length_if_repeated) else { return Ok(None) };
        if registers.rcx <= times {
            return Ok(None);
        }
        let shortened = Shortened { address: registers.rip, behind: registers.rip + length, left: registers.rcx - times };
        registers.rcx = times;
        ptrace::setregs(pid, registers)?;
        Ok(Some(shortened))
    }

    /// Puts it back to the instruction that was shortened, in the state in which the rest is left to do.
    pub(crate) fn lengthen(pid: Pid, shortened: &Shortened) -> nix::Result<()> {
        let mut registers = ptrace::getregs(pid)?;
        (registers.rip, registers.rcx) = (shortened.address, shortened.left);
        ptrace::setregs(pid, registers)
    }

    fn code(pid: Pid, address: u64) -> Option<u64> {
        ptrace::read(pid, address as AddressType).ok().map(|code| code as u64)
    }

    /// The length of `rep movs` and `rep stos`: they change no flags, so that their whole state is in the registers and in memory.
    fn length_if_repeated(code: u64) -> Option<u64> {
        let [rep, second, third, ..] = code.to_le_bytes();
        let (operation, length) = if second & 0xf0 == 0x40 { (third, 3) } else { (second, 2) };
        (rep == 0xf3 && matches!(operation, 0xa4 | 0xa5 | 0xaa | 0xab)).then_some(length)
    }

    fn write_register(pid: Pid, number: usize, value: c_long) -> nix::Result<()> {
        let register = DEBUG_REGISTERS + number * size_of::<c_long>();
        ptrace::write_user(pid, register as AddressType, value)
    }
}

/// Elsewhere all instructions are counted from the start: slower, and no less thorough.
#[cfg(not(target_arch = "x86_64"))]
mod here {
    use nix::errno::Errno;

    use super::{Next, Pid, Shortened};

    pub(crate) const HAS_BREAKPOINTS: bool = false;

    pub(crate) fn next(_: Pid) -> Next {
        Next::default()
    }

    pub(crate) fn address(_: Pid) -> nix::Result<u64> {
        Ok(0)
    }

    pub(crate) fn set_breakpoint(_: Pid, _: u64) -> nix::Result<()> {
        Err(Errno::ENOSYS)
    }

    pub(crate) fn clear_breakpoint(_: Pid) -> nix::Result<()> {
        Err(Errno::ENOSYS)
    }

    pub(crate) fn shorten(_: Pid, _: u64) -> nix::Result<Option<Shortened>> {
        Ok(None)
    }

    pub(crate) fn lengthen(_: Pid, _: &Shortened) -> nix::Result<()> {
        Err(Errno::ENOSYS)
    }
}

pub(super) use here::{HAS_BREAKPOINTS, address, clear_breakpoint, lengthen, next, set_breakpoint, shorten};
