//! A proxy before a server, which counts requests, loses answers, and cuts connections.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// A proxy on a port of loopback.
pub(crate) struct Proxy {
    port: u16,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    server: String,
    /// The paths of the requests.
    requests: Mutex<Vec<String>>,
    /// A part of a path, and the number of answers to such requests that get lost.
    lost: Mutex<(String, usize)>,
    /// A part of a path, requests to which are kept back.
    held: Mutex<String>,
    is_cut: AtomicBool,
    connections: Mutex<Vec<TcpStream>>,
    arrived: AtomicUsize,
}

impl Proxy {
    pub(crate) fn start(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let state = Arc::new(State { server, ..State::default() });
        let of_thread = Arc::clone(&state);
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                of_thread.forward(connection);
            }
        });
        Self { port, state }
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Returns the paths of the requests since the last call, without those that keep the session alive.
    pub(crate) fn take_requests(&self) -> Vec<String> {
        let all = std::mem::take(&mut *lock(&self.state.requests));
        all.into_iter().filter(|path| !path.contains("keepalive")).collect()
    }

    /// Returns the number of requests since they were taken.
    pub(crate) fn peek_requests(&self) -> usize {
        lock(&self.state.requests).len()
    }

    /// Loses the answers to the next requests to such a path.
    pub(crate) fn lose(&self, path: &str, answers: usize) {
        *lock(&self.state.lost) = (path.to_owned(), answers);
    }

    /// Returns true if all answers are lost that should be.
    pub(crate) fn has_lost(&self) -> bool {
        lock(&self.state.lost).1 == 0
    }

    /// Keeps back requests to such a path.
    pub(crate) fn hold(&self, path: &str) {
        path.clone_into(&mut lock(&self.state.held));
        self.state.arrived.store(0, SeqCst);
    }

    /// Returns the number of requests that are or were kept back.
    pub(crate) fn held(&self) -> usize {
        self.state.arrived.load(SeqCst)
    }

    /// Lets all requests pass.
    pub(crate) fn let_pass(&self) {
        lock(&self.state.held).clear();
    }

    /// Cuts all connections, and lets no new one pass.
    pub(crate) fn cut(&self) {
        self.state.is_cut.store(true, SeqCst);
        self.cut_once();
    }

    /// Cuts all connections.
    pub(crate) fn cut_once(&self) {
        for connection in std::mem::take(&mut *lock(&self.state.connections)) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    /// Lets new connections pass.
    pub(crate) fn restore(&self) {
        self.state.is_cut.store(false, SeqCst);
    }
}

impl State {
    fn forward(self: &Arc<Self>, client: TcpStream) {
        if self.is_cut.load(SeqCst) {
            return;
        }
        let Ok(server) = TcpStream::connect(&self.server) else { return };
        let clone = |stream: &TcpStream| stream.try_clone().expect("a descriptor");
        lock(&self.connections).extend([clone(&client), clone(&server)]);
        let is_lost = Arc::new(AtomicBool::new(false));
        let (this, lost, from, to) = (Arc::clone(self), Arc::clone(&is_lost), clone(&client), clone(&server));
        thread::spawn(move || {
            this.requests(from, to, &lost);
        });
        thread::spawn(move || answers(server, client, &is_lost));
    }

    /// Forwards requests. Each arrives in one piece, as long as it is short.
    fn requests(&self, mut from: TcpStream, mut to: TcpStream, is_lost: &AtomicBool) {
        let mut buffer = [0; 64 * 1024];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..length]);
            let line = text.lines().next().unwrap_or_default();
            if let Some(path) = line.strip_suffix(" HTTP/1.1").and_then(|line| line.split(' ').nth(1)) {
                lock(&self.requests).push(path.to_owned());
                let is_held = || {
                    let held = lock(&self.held);
                    !held.is_empty() && path.contains(held.as_str())
                };
                if is_held() {
                    self.arrived.fetch_add(1, SeqCst);
                }
                while is_held() {
                    thread::sleep(Duration::from_millis(5));
                }
                let mut lost = lock(&self.lost);
                if lost.1 > 0 && path.contains(&lost.0) {
                    lost.1 -= 1;
                    is_lost.store(true, SeqCst);
                }
            }
            if to.write_all(&buffer[..length]).is_err() {
                break;
            }
        }
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    }
}

fn answers(mut from: TcpStream, mut to: TcpStream, is_lost: &AtomicBool) {
    let mut buffer = [0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if is_lost.load(SeqCst) || to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
