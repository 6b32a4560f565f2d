use std::net::TcpListener;

/// Returns different ports of the loopback interface that are free now.
///
/// Another program may take one before the server does.
pub(crate) fn free<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port is free"));
    listeners.map(|listener| listener.local_addr().expect("it is bound").port())
}
