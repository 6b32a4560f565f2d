//! The containers, pods and volumes of podman, by the numbers of their locks.
//!
//! podman may wait for the lock that the user asks about. It runs with a time limit, and is killed after it.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, Uid};
use serde::Serialize;
use serde_json::Value;

/// The time in which podman has to answer.
const LIMIT: Duration = Duration::from_secs(5);

/// The part of the time after which podman is asked to end. It has the rest of the time to do so.
const PATIENCE: Duration = Duration::from_millis(4_500);

/// The time between two checks whether podman has ended.
const POLL: Duration = Duration::from_millis(10);

/// An object of podman that has a lock.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct Object {
    #[serde(skip)]
    pub(crate) lock: u64,
    pub(crate) kind: &'static str,
    pub(crate) name: String,
    pub(crate) id: Option<String>,
}

/// The objects that podman names, and the reasons why others are not named.
#[derive(Default)]
pub(crate) struct Objects {
    pub(crate) found: Vec<Object>,
    pub(crate) unknown: Vec<String>,
}

/// A kind of object, with the command that lists the names and the one that describes them.
struct Kind {
    name: &'static str,
    list: &'static [&'static str],
    inspect: &'static [&'static str],
}

const KINDS: [Kind; 3] = [
    Kind { name: "container", list: &["ps", "--all", "--quiet", "--no-trunc"], inspect: &["container", "inspect"] },
    Kind { name: "pod", list: &["pod", "ps", "--quiet", "--no-trunc"], inspect: &["pod", "inspect"] },
    Kind { name: "volume", list: &["volume", "ls", "--quiet"], inspect: &["volume", "inspect"] },
];

/// Asks podman for the objects whose locks are in this segment.
pub(crate) fn objects(segment: &Path) -> Objects {
    let uid = Uid::effective();
    let name = segment.strip_prefix("/dev/shm").ok().and_then(Path::to_str).unwrap_or_default();
    if !(name == "libpod_lock" || name.starts_with("libpod_rootless_lock_")) {
        return Objects::default();
    }
    let own = if uid.is_root() { "libpod_lock".to_owned() } else { format!("libpod_rootless_lock_{uid}") };
    if name != own {
        let unknown = "the names of podman's containers, pods and volumes: run lockctl as the user of this segment";
        return Objects { found: Vec::new(), unknown: vec![unknown.to_owned()] };
    }
    let start = Instant::now();
    // A kind whose objects are all free answers also if another one hangs.
    let answers = thread::scope(|scope| {
        let asked = KINDS.map(|kind| scope.spawn(move || (kind.name, ask(&kind, start))));
        asked.map(|thread| thread.join().expect("asking podman does not panic"))
    });
    let mut objects = Objects::default();
    let mut failed: Vec<(Failure, Vec<&str>)> = Vec::new();
    for (kind, answer) in answers {
        match answer {
            Ok(found) => objects.found.extend(found),
            Err(failure) => match failed.iter_mut().find(|(earlier, _)| *earlier == failure) {
                Some((_, kinds)) => kinds.push(kind),
                None => failed.push((failure, vec![kind])),
            },
        }
    }
    objects.unknown = failed.into_iter().map(|(failure, kinds)| failure.of(&kinds)).collect();
    objects
}

/// Why podman has not named the objects of a kind.
#[derive(PartialEq, Eq, Debug)]
enum Failure {
    /// podman is not installed.
    Absent,
    /// It has not answered in time.
    Silent,
    /// It prints no numbers of locks.
    Unnumbered,
    Other(String),
}

impl Failure {
    fn of(&self, kinds: &[&str]) -> String {
        let kinds = kinds.iter().map(|kind| format!("{kind}s")).collect::<Vec<_>>().join(", ");
        match self {
            Self::Absent => format!("podman's {kinds}: the command podman is not installed"),
            Self::Silent => {
                format!("podman's {kinds}: podman did not answer within {} s; it may wait for a lock itself", LIMIT.as_secs())
            }
            Self::Unnumbered => format!("podman's {kinds}: this version of podman does not print the numbers of their locks"),
            Self::Other(reason) => format!("podman's {kinds}: podman failed: {reason}"),
        }
    }
}

type Answer<T> = Result<T, Failure>;

fn ask(kind: &Kind, start: Instant) -> Answer<Vec<Object>> {
    let names = run(kind.list, &[], start)?;
    let names: Vec<_> = names.lines().map(str::trim).filter(|name| !name.is_empty()).collect();
    if names.is_empty() {
        return Ok(Vec::new());
    }
    parse(kind.name, &run(kind.inspect, &names, start)?)
}

/// Parses an array of objects.
fn parse(kind: &'static str, text: &str) -> Answer<Vec<Object>> {
    let value = serde_json::from_str(text).map_err(|error| Failure::Other(format!("its answer is not JSON: {error}")))?;
    // `podman pod inspect` of one pod prints no array in some versions.
    let values = match value {
        Value::Array(values) => values,
        value => vec![value],
    };
    let found: Vec<_> = values.iter().filter_map(|value| object(kind, value)).collect();
    if found.is_empty() && !values.is_empty() { Err(Failure::Unnumbered) } else { Ok(found) }
}

fn object(kind: &'static str, value: &Value) -> Option<Object> {
    let field = |name: &str| {
        let fields = value.as_object()?;
        fields.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    };
    let text = |name: &str| field(name).and_then(Value::as_str).map(str::to_owned);
    let id = text("id");
    Some(Object { lock: field("lockNumber")?.as_u64()?, kind, name: text("name").or_else(|| id.clone())?, id })
}

/// Runs podman until the limit, and returns its output.
fn run(command: &[&str], names: &[&str], start: Instant) -> Answer<String> {
    let failed = |error: io::Error| Failure::Other(error.to_string());
    // A file, because a process that podman leaves behind would keep a pipe open.
    let mut output = tempfile::tempfile().map_err(failed)?;
    let mut errors = tempfile::tempfile().map_err(failed)?;
    let (stdout, stderr) = (output.try_clone().map_err(failed)?, errors.try_clone().map_err(failed)?);
    let mut podman = Command::new("podman");
    podman.args(command).args(names).env_remove("CONTAINER_HOST").env_remove("CONTAINER_CONNECTION").process_group(0);
    podman.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
    let mut child = podman.spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Failure::Absent,
        _ => failed(error),
    })?;
    let ended = wait(&mut child, start);
    match ended.map_err(failed)? {
        Some(true) => read(&mut output).map_err(failed),
        Some(false) => {
            let message = read(&mut errors).unwrap_or_default();
            Err(Failure::Other(message.lines().last().unwrap_or("it reports no reason").to_owned()))
        }
        None => Err(Failure::Silent),
    }
}

/// Waits until the limit, and returns whether the process succeeded. Ends it and its children at the limit.
fn wait(child: &mut Child, start: Instant) -> io::Result<Option<bool>> {
    let group = Pid::from_raw(child.id() as i32);
    let mut is_asked = false;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok((!is_asked).then_some(status.success()));
        }
        if start.elapsed() >= LIMIT {
            break;
        }
        if start.elapsed() >= PATIENCE && !is_asked {
            is_asked = true;
            // An error is ignored: the process has ended.
            let _ = killpg(group, Signal::SIGTERM);
        }
        thread::sleep(POLL);
    }
    // An error is ignored: the process has ended.
    let _ = killpg(group, Signal::SIGKILL);
    // A process that is blocked in the kernel dies later.
    if child.try_wait()?.is_none() {
        thread::sleep(POLL);
        child.try_wait()?;
    }
    Ok(None)
}

fn read(output: &mut File) -> io::Result<String> {
    let mut text = Vec::new();
    output.rewind()?;
    output.read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lock_numbers_are_found_in_each_spelling() {
        let found = |lock, name: &str, id: Option<&str>| Object {
            lock,
            kind: "volume",
            name: name.to_owned(),
            id: id.map(str::to_owned),
        };
        let text = r#"[{"Id": "4f", "Name": "web", "lockNumber": 7}, {"Name": "v", "LockNumber": 0}, {"Name": "none"}]"#;
        assert_eq!(parse("volume", text), Ok(vec![found(7, "web", Some("4f")), found(0, "v", None)]));
        assert_eq!(parse("volume", r#"{"Id": "4f", "LOCKNUMBER": 3}"#), Ok(vec![found(3, "4f", Some("4f"))]));
        assert_eq!(parse("volume", "[]"), Ok(Vec::new()));
    }

    #[test]
    fn an_answer_without_lock_numbers_or_json_is_told_apart() {
        assert_eq!(parse("volume", r#"[{"Name": "v"}]"#), Err(Failure::Unnumbered));
        assert!(matches!(parse("volume", "Error: none"), Err(Failure::Other(_))));
    }
}
