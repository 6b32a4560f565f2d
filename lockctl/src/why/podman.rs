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

/// The objects that podman names, and what it does not tell.
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
        asked.map(|thread| thread.join().unwrap_or(("object", Answer::Failed("a thread ended".to_owned()))))
    });
    let mut objects = Objects::default();
    for (kind, answer) in answers {
        objects.unknown.extend(match answer {
            Answer::Objects(found) => {
                objects.found.extend(found);
                continue;
            }
            Answer::Absent => Some("the names of podman's objects: the command podman is not installed".to_owned()),
            Answer::Silent => Some(format!(
                "podman's {kind}s: podman did not answer within {} s; it may wait for a lock itself",
                LIMIT.as_secs()
            )),
            Answer::Unnumbered => {
                Some(format!("which of podman's {kind}s has a lock: this version of podman does not print lock numbers"))
            }
            Answer::Failed(reason) => Some(format!("podman's {kind}s: podman failed: {reason}")),
        });
    }
    objects.unknown.dedup();
    objects
}

enum Answer {
    Objects(Vec<Object>),
    /// podman is not installed.
    Absent,
    /// It has not answered in time.
    Silent,
    /// It prints no numbers of locks.
    Unnumbered,
    Failed(String),
}

fn ask(kind: &Kind, start: Instant) -> Answer {
    let names = match run(kind.list, &[], start) {
        Ok(names) => names,
        Err(answer) => return answer,
    };
    let names: Vec<_> = names.lines().map(str::trim).filter(|name| !name.is_empty()).collect();
    if names.is_empty() {
        return Answer::Objects(Vec::new());
    }
    match run(kind.inspect, &names, start) {
        Ok(text) => parse(kind.name, &text),
        Err(answer) => answer,
    }
}

/// Parses an array of objects.
fn parse(kind: &'static str, text: &str) -> Answer {
    let Ok(value) = serde_json::from_str::<Value>(text) else {
        return Answer::Failed("its answer is no JSON".to_owned());
    };
    // `podman pod inspect` of one pod prints no array in some versions.
    let values = match value {
        Value::Array(values) => values,
        value => vec![value],
    };
    let found: Vec<_> = values.iter().filter_map(|value| object(kind, value)).collect();
    if found.is_empty() && !values.is_empty() { Answer::Unnumbered } else { Answer::Objects(found) }
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
fn run(command: &[&str], names: &[&str], start: Instant) -> Result<String, Answer> {
    let failed = |error: io::Error| Answer::Failed(error.to_string());
    // A file, because a process that podman leaves behind would keep a pipe open.
    let mut output = tempfile::tempfile().map_err(failed)?;
    let stdout = output.try_clone().map_err(failed)?;
    let mut podman = Command::new("podman");
    podman.args(command).args(names).env_remove("CONTAINER_HOST").process_group(0);
    podman.stdin(Stdio::null()).stdout(stdout).stderr(Stdio::null());
    let mut child = podman.spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Answer::Absent,
        _ => failed(error),
    })?;
    let ended = wait(&mut child, start);
    match ended.map_err(failed)? {
        Some(true) => read(&mut output).map_err(failed),
        Some(false) => Err(Answer::Failed(format!("`podman {}` reports an error", command.join(" ")))),
        None => Err(Answer::Silent),
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

    fn objects(text: &str) -> Option<Vec<Object>> {
        match parse("volume", text) {
            Answer::Objects(objects) => Some(objects),
            _ => None,
        }
    }

    #[test]
    fn lock_numbers_are_found_in_each_spelling() {
        let found = |lock, name: &str, id: Option<&str>| Object {
            lock,
            kind: "volume",
            name: name.to_owned(),
            id: id.map(str::to_owned),
        };
        let text = r#"[{"Id": "4f", "Name": "web", "lockNumber": 7}, {"Name": "v", "LockNumber": 0}, {"Name": "none"}]"#;
        assert_eq!(objects(text), Some(vec![found(7, "web", Some("4f")), found(0, "v", None)]));
        assert_eq!(objects(r#"{"Id": "4f", "LOCKNUMBER": 3}"#), Some(vec![found(3, "4f", Some("4f"))]));
        assert_eq!(objects("[]"), Some(Vec::new()));
    }

    #[test]
    fn an_answer_without_lock_numbers_or_json_is_told_apart() {
        assert!(matches!(parse("volume", r#"[{"Name": "v"}]"#), Answer::Unnumbered));
        assert!(matches!(parse("volume", "Error: none"), Answer::Failed(_)));
    }
}
