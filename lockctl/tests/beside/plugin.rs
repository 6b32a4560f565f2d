//! A volume plugin of podman that removes no volume until it is told to.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

const SOCKET: &str = "/run/slow.sock";
const CONFIGURATION: &str = "/run/containers.conf";

pub(crate) struct Plugin {
    begun: Receiver<()>,
    allow: Sender<()>,
}

impl Plugin {
    /// Starts the plugin `slow`, in threads of this process.
    pub(crate) fn start() -> Self {
        fs::write(CONFIGURATION, format!("[engine.volume_plugins]\nslow = {SOCKET:?}\n")).unwrap();
        let listener = UnixListener::bind(SOCKET).unwrap();
        let (begin, begun) = channel();
        let (allow, allowed) = channel();
        let allowed = Arc::new(Mutex::new(allowed));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (begin, allowed) = (begin.clone(), Arc::clone(&allowed));
                thread::spawn(move || answer(stream.unwrap(), &begin, &allowed));
            }
        });
        Self { begun, allow }
    }

    /// The path of a `containers.conf` that names the plugin.
    pub(crate) fn configuration(&self) -> &'static str {
        CONFIGURATION
    }

    /// Waits until podman has asked for a removal.
    pub(crate) fn wait_for_removal(&self) {
        self.begun.recv().unwrap();
    }

    /// Lets all removals succeed.
    pub(crate) fn remove(self) {
        drop(self.allow);
    }
}

/// Answers the requests of a connection. podman sends a JSON text of a known length in each.
fn answer(stream: UnixStream, begin: &Sender<()>, allowed: &Mutex<Receiver<()>>) {
    let mut reader = BufReader::new(&stream);
    loop {
        let mut request = String::new();
        let mut length = 0;
        // An error or no line: podman has closed the connection.
        if reader.read_line(&mut request).unwrap_or(0) == 0 {
            return;
        }
        loop {
            let mut header = String::new();
            if reader.read_line(&mut header).unwrap_or(0) == 0 {
                return;
            }
            match header.trim_end().split_once(": ") {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.parse().unwrap(),
                Some(_) => {}
                None => break,
            }
        }
        if reader.read_exact(&mut vec![0; length]).is_err() {
            return;
        }
        if request.contains("VolumeDriver.Remove") {
            // An error is ignored: the test has ended, or removals are allowed.
            let _ = begin.send(());
            let _ = allowed.lock().unwrap().recv();
        }
        let body = if request.contains("Activate") { r#"{"Implements": ["VolumeDriver"]}"# } else { "{}" };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
        if (&stream).write_all((head + body).as_bytes()).is_err() {
            return;
        }
    }
}
