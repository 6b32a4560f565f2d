//! `arm64`: boots Debian's arm64 kernel in an emulator, and runs the suites of shm, file and sem in it.
//!
//! A system emulator supports robust lists, namespaces and System V semaphores. A user-mode emulator does not.

mod archive;
mod kernel;
mod programs;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use self::archive::Archive;
use crate::Result;
use crate::metadata::Metadata;
use crate::shell::Shown;

const EMULATOR: &str = "qemu-system-aarch64";
/// The prefix of the line with the result of the suites. `init.rs` uses the same prefix.
const VERDICT: &str = "arm64: ";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Link glibc statically instead of musl
    #[arg(long)]
    glibc: bool,
    /// Kernel of the virtual machine [default: Debian's package linux-image-arm64, downloaded once]
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
    /// Maximum run time of the machine, in minutes
    #[arg(long, default_value_t = 60)]
    minutes: u64,
    /// Arguments of each test program, for example `--exact` or part of the name of a case
    #[arg(last = true)]
    arguments: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    need(EMULATOR, "qemu-system-arm")?;
    let home = Metadata::load()?.target()?.join("arm64");
    fs::create_dir_all(&home)?;
    let kernel = match &args.kernel {
        Some(kernel) => kernel.clone(),
        None => kernel::debian(&home)?,
    };
    let files = home.join(if args.glibc { "initramfs-glibc" } else { "initramfs-musl" });
    fs::write(&files, initramfs(args)?)?;
    boot(&kernel, &files, Duration::from_secs(args.minutes * 60))
}

/// Builds the files of the guest: its init, the test programs in order, and their arguments.
fn initramfs(args: &Args) -> Result<Vec<u8>> {
    let programs = programs::build(args.glibc)?;
    let mut archive = Archive::default();
    let init = fs::read(&programs.init)?;
    archive.program("init", &init);
    archive.directory("bin");
    archive.program("bin/cat", &init);
    archive.directory("suites");
    for (number, suite) in programs.suites.iter().enumerate() {
        archive.program(&format!("suites/{number:02}-{}", suite.name), &fs::read(&suite.file)?);
    }
    archive.file("arguments", args.arguments.join("\n").as_bytes());
    Ok(archive.end())
}

/// Boots the kernel with these files, prints the console, and returns the result of the guest.
fn boot(kernel: &Path, files: &Path, limit: Duration) -> Result<()> {
    let mut machine = Command::new(EMULATOR);
    // The architected algorithm for pointer authentication takes most of the time of an emulated system.
    machine.args(["-machine", "virt", "-cpu", "max,pauth-impdef=on", "-smp", "2", "-m", "2G", "-no-reboot"]);
    machine.args(["-nodefaults", "-display", "none", "-serial", "stdio", "-append", "console=ttyAMA0 quiet panic=-1"]);
    machine.arg("-kernel").arg(kernel).arg("-initrd").arg(files).stdin(Stdio::null()).stdout(Stdio::piped());
    eprintln!("$ {}", Shown(&machine));
    let start = Instant::now();
    let mut machine = machine.spawn()?;
    let console = BufReader::new(machine.stdout.take().ok_or("no stdout")?);
    let relay = thread::spawn(move || {
        let mut verdict = None;
        for line in console.split(b'\n').map_while(std::result::Result::ok) {
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            println!("{line}");
            verdict = line.strip_prefix(VERDICT).map(str::to_owned).or(verdict);
        }
        verdict
    });
    while !relay.is_finished() {
        if start.elapsed() > limit {
            machine.kill()?;
        }
        thread::sleep(Duration::from_millis(100));
    }
    let status = machine.wait()?;
    let verdict = relay.join().map_err(|_| "the relay of the console panicked")?;
    eprintln!("{EMULATOR} ended after {:.0} s: {status}", start.elapsed().as_secs_f64());
    match verdict.as_deref() {
        Some("passed") => Ok(()),
        Some(failed) => Err(failed.into()),
        None if start.elapsed() > limit => Err(format!("the suites took more than {} minutes", limit.as_secs() / 60).into()),
        None => Err("the guest ended before its suites".into()),
    }
}

/// Checks that a program is installed. The error names its package.
fn need(program: &str, package: &str) -> Result<()> {
    match Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status() {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("{program}: {error}; install it (Debian: `apt-get install {package}`)").into()),
    }
}
