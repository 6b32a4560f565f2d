//! A proxy between a client and a server, which can cut, hold back and delay what it passes on.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// How often a held connection looks whether it may go on.
const POLL: Duration = Duration::from_millis(10);

#[derive(Clone)]
pub(crate) struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
}

struct State {
    server: SocketAddr,
    /// Nothing passes in either direction, as in a partition of the network.
    is_held: AtomicBool,
    /// The delay of each piece of data, in microseconds.
    delay: AtomicU64,
    connections: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    pub(crate) fn to(server: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let connections = Mutex::new(Vec::new());
        let state = Arc::new(State { server, is_held: AtomicBool::new(false), delay: AtomicU64::new(0), connections });
        let proxy = Self { address: listener.local_addr()?, state: Arc::clone(&state) };
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let state = Arc::clone(&state);
                thread::spawn(move || state.connect(client));
            }
        });
        Ok(proxy)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts all connections, with a reset for both ends.
    pub(crate) fn cut(&self) {
        for connection in self.state.connections().drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    /// Holds back everything, or lets it pass again.
    pub(crate) fn hold(&self, is_held: bool) {
        self.state.is_held.store(is_held, SeqCst);
    }

    pub(crate) fn delay(&self, delay: Duration) {
        self.state.delay.store(u64::try_from(delay.as_micros()).unwrap_or(u64::MAX), SeqCst);
    }
}

impl State {
    fn connections(&self) -> std::sync::MutexGuard<'_, Vec<TcpStream>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connect(self: Arc<Self>, client: TcpStream) {
        self.wait_while_held();
        let Ok(server) = TcpStream::connect(self.server) else { return };
        for stream in [&client, &server] {
            let _ = stream.set_nodelay(true);
            if let Ok(stream) = stream.try_clone() {
                self.connections().push(stream);
            }
        }
        let (Ok(from_client), Ok(from_server)) = (client.try_clone(), server.try_clone()) else { return };
        let back = Arc::clone(&self);
        thread::spawn(move || back.pass(from_server, client));
        self.pass(from_client, server);
    }

    /// Passes data on until an end is closed.
    fn pass(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut buffer = [0; 16_384];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            let delay = self.delay.load(SeqCst);
            if delay != 0 {
                thread::sleep(Duration::from_micros(delay));
            }
            self.wait_while_held();
            if to.write_all(&buffer[..length]).is_err() {
                break;
            }
        }
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    }

    fn wait_while_held(&self) {
        while self.is_held.load(SeqCst) {
            thread::sleep(POLL);
        }
    }
}
