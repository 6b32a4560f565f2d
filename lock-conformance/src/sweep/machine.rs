//! Architecture-specific code: registers, breakpoints and repeating instructions.

use nix::unistd::Pid;

/// The next instruction of a stopped process.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Next {
    /// The address; 0 if it is unknown.
    pub(super) address: u64,
    pub(super) is_system_call: bool,
}

/// A repeating instruction whose count was reduced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Shortened {
    address: u64,
    /// The address of the following instruction.
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
    /// Value of debug register 7: break before executing the address in register 0, in this process only.
    const STOP_AT_0: c_long = 1;

    pub(crate) fn next(pid: Pid) -> Next {
        let Ok(registers) = ptrace::getregs(pid) else { return Next::default() };
        let is_system_call = code(pid, registers.rip).is_some_and(|code| code & 0xffff == SYSCALL);
        Next { address: registers.rip, is_system_call }
    }

    pub(crate) fn address(pid: Pid) -> nix::Result<u64> {
        Ok(ptrace::getregs(pid)?.rip)
    }

    /// Sets a breakpoint in a debug register, which leaves the target's memory unchanged.
    pub(crate) fn set_breakpoint(pid: Pid, address: u64) -> nix::Result<()> {
        write_register(pid, 0, address as c_long)?;
        write_register(pid, 7, STOP_AT_0)
    }

    pub(crate) fn clear_breakpoint(pid: Pid) -> nix::Result<()> {
        write_register(pid, 7, 0)
    }

    /// Limits the next instruction to `times` iterations, if it is a `rep movs` or `rep stos`.
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

    /// Returns the process to the limited instruction, with the remaining iterations to do.
    pub(crate) fn lengthen(pid: Pid, shortened: &Shortened) -> nix::Result<()> {
        let mut registers = ptrace::getregs(pid)?;
        (registers.rip, registers.rcx) = (shortened.address, shortened.left);
        ptrace::setregs(pid, registers)
    }

    fn code(pid: Pid, address: u64) -> Option<u64> {
        ptrace::read(pid, address as AddressType).ok().map(|code| code as u64)
    }

    /// Returns the length of a `rep movs` or `rep stos`.
    ///
    /// They change no flags: their state is in registers and memory only.
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

/// On other architectures, all instructions are counted from the start.
///
/// This is slower and covers the same places.
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
