use std::collections::HashSet;
use std::fmt;
use std::io;
use std::time::Duration;

use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use lock_core::{Error, Result};
use postgres_protocol::IsNull;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::backend::{DataRowBody, ErrorFields, Message};
use postgres_protocol::message::frontend;

use crate::options::StoreOptions;
use crate::password;
use crate::server::Server;
use crate::socket::Socket;
use crate::sqlstate::{Failure, Outcome, ServerError};
use crate::statement::{Row, Statement, Value};
use crate::tls::{self, Mode};

/// The oldest supported major version: `idle_session_timeout` is new in it.
const OLDEST: u32 = 14;

/// A connection to a server, which executes one statement at a time.
///
/// After [`Failure::Broken`] it is unusable. Dropping it closes the socket, which ends the session at the server.
pub(crate) struct Connection {
    server: Server,
    transport: Transport,
    input: BytesMut,
    output: BytesMut,
    prepared: HashSet<&'static str>,
    /// The number of the server's process, as the server said at the start.
    process: i32,
    /// Answers that are still to come, to statements whose time limit passed.
    owed: u32,
    notifications: Vec<String>,
    is_broken: bool,
}

#[derive(Debug)]
enum Transport {
    Plain(Socket),
    #[cfg(feature = "tls")]
    Encrypted(Box<tls::Encrypted>),
}

impl Connection {
    /// Connects, and checks that a PostgreSQL server of a known version answers, without a pooler between.
    ///
    /// # Errors
    /// [`ErrorKind::Unreachable`](lock_core::ErrorKind::Unreachable), [`ErrorKind::Denied`](lock_core::ErrorKind::Denied),
    /// [`ErrorKind::Limit`](lock_core::ErrorKind::Limit), [`ErrorKind::Unsupported`](lock_core::ErrorKind::Unsupported).
    pub(crate) fn open(options: &StoreOptions) -> Result<Self> {
        let server = options.server.clone();
        let connect = || Socket::connect(&server, options.timeout, options.timing.ttl);
        let transport = match options.tls.mode(&server) {
            Mode::Disable => Transport::Plain(connect()?),
            #[cfg(feature = "tls")]
            Mode::VerifyFull => Transport::Encrypted(Box::new(tls::connect(&server, &options.tls, connect()?)?)),
            #[cfg(not(feature = "tls"))]
            Mode::VerifyFull => return Err(tls::missing(&server)),
        };
        let mut connection = Self {
            server,
            transport,
            input: BytesMut::new(),
            output: BytesMut::new(),
            prepared: HashSet::new(),
            process: 0,
            owed: 0,
            notifications: Vec::new(),
            is_broken: false,
        };
        let started = connection.start(options);
        started.map_err(|failure| failure.into_error(&connection.server))?;
        connection.check()?;
        Ok(connection)
    }

    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    /// Returns the number of the server's process.
    pub(crate) fn process(&self) -> i32 {
        self.process
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Returns the socket, for waiting without the connection.
    pub(crate) fn socket(&self) -> Socket {
        match &self.transport {
            Transport::Plain(socket) => socket.clone(),
            #[cfg(feature = "tls")]
            Transport::Encrypted(encrypted) => encrypted.socket(),
        }
    }

    /// Keeps the connection when the program closes descriptors that it did not open.
    pub(crate) fn keep(&mut self) {
        match &mut self.transport {
            Transport::Plain(socket) => socket.keep(),
            #[cfg(feature = "tls")]
            Transport::Encrypted(encrypted) => encrypted.keep(),
        }
    }

    /// Sets the time limit of an answer.
    pub(crate) fn set_timeout(&mut self, timeout: Duration) -> Outcome<()> {
        self.socket().set_timeout(timeout).map_err(|error| self.broken(&error))
    }

    /// Executes a statement in one round trip, and returns its rows. The server prepares it at its first use.
    pub(crate) fn run(&mut self, statement: &Statement, parameters: &[Value<'_>]) -> Outcome<Vec<Row>> {
        self.output.clear();
        let is_new = !self.prepared.contains(statement.name);
        let written = (|| {
            if is_new {
                frontend::parse(statement.name, statement.text, [], &mut self.output)?;
            }
            let values = parameters.iter();
            let write = |value: &Value<'_>, buffer: &mut BytesMut| Ok(if value.write(buffer) { IsNull::No } else { IsNull::Yes });
            let bound = frontend::bind("", statement.name, [], values, write, [], &mut self.output);
            bound.map_err(|error| match error {
                frontend::BindError::Conversion(error) => io::Error::other(error),
                frontend::BindError::Serialization(error) => error,
            })?;
            frontend::execute("", 0, &mut self.output)?;
            frontend::sync(&mut self.output);
            Ok(())
        })();
        self.sent(written)?;
        let rows = self.answer();
        match &rows {
            Ok(_) if is_new => drop(self.prepared.insert(statement.name)),
            // The text of a statement may be wrong, or its execution; a second preparation under the name would be refused.
            Err(Failure::Refused(_)) if is_new => self.forget(statement.name)?,
            _ => {}
        }
        rows
    }

    /// Executes a text of one or several statements, and returns the rows of all.
    pub(crate) fn batch(&mut self, text: &str) -> Outcome<Vec<Row>> {
        self.output.clear();
        let written = frontend::query(text, &mut self.output);
        self.sent(written)?;
        self.answer()
    }

    /// Executes a statement of one row, and waits for its answer for this time. Then `timeout` is the time limit again.
    ///
    /// Returns `None` when the time passed. The connection goes on, and later calls skip the answer.
    pub(crate) fn ping(&mut self, text: &str, time: Duration, timeout: Duration) -> Outcome<Option<Row>> {
        self.set_timeout(time)?;
        let mut answered = self.skip_owed()?;
        let mut row = None;
        if answered {
            self.output.clear();
            let written = frontend::query(text, &mut self.output);
            self.sent(written)?;
            match self.receive_answer() {
                Ok(mut rows) => {
                    row = rows.pop();
                    self.handle_received()?;
                }
                Err(Stop::Refused(error)) => return Err(Failure::Refused(error)),
                Err(Stop::Late) => {
                    self.owed += 1;
                    answered = false;
                }
                Err(Stop::Broken(failure)) => return Err(failure),
            }
        }
        self.set_timeout(timeout)?;
        Ok(row.filter(|_| answered))
    }

    /// Skips the answers that are still to come. Returns false when the time passed.
    fn skip_owed(&mut self) -> Outcome<bool> {
        while self.owed > 0 {
            match self.receive_answer() {
                Ok(_) | Err(Stop::Refused(_)) => self.owed -= 1,
                Err(Stop::Late) => return Ok(false),
                Err(Stop::Broken(failure)) => return Err(failure),
            }
        }
        Ok(true)
    }

    /// Receives what the server has sent without being asked. Does not block.
    pub(crate) fn receive_notifications(&mut self) -> Outcome<()> {
        loop {
            match self.fill(false) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(self.broken(&error)),
            }
            while let Some(message) = self.parse()? {
                match message {
                    Message::ReadyForQuery(_) if self.owed > 0 => self.owed -= 1,
                    Message::DataRow(_) | Message::RowDescription(_) | Message::CommandComplete(_) if self.owed > 0 => {}
                    message => self.unasked(message)?,
                }
            }
        }
    }

    /// Returns the texts of the notifications that have arrived since the last call.
    pub(crate) fn take_notifications(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notifications)
    }

    /// Says farewell, without waiting for an answer.
    pub(crate) fn close(&mut self) {
        self.output.clear();
        frontend::terminate(&mut self.output);
        let output = self.output.split();
        // The end of the connection has the same effect.
        let _ = self.transport.send(&output);
        self.end();
    }

    /// Logs in.
    fn start(&mut self, options: &StoreOptions) -> Outcome<()> {
        let parameters = [
            ("user", self.server.user.as_str()),
            ("database", self.server.database.as_str()),
            ("client_encoding", "UTF8"),
            ("application_name", "lock-postgres"),
        ];
        let written = frontend::startup_message(parameters, &mut self.output);
        self.sent(written)?;
        let mut scram = None;
        loop {
            match self.message()? {
                Message::AuthenticationOk => {}
                Message::AuthenticationCleartextPassword => {
                    let password = self.password(options)?;
                    self.send_message(|output| frontend::password_message(password.as_bytes(), output))?;
                }
                Message::AuthenticationMd5Password(body) => {
                    let password = self.password(options)?;
                    let hash = md5_hash(self.server.user.as_bytes(), password.as_bytes(), body.salt());
                    self.send_message(|output| frontend::password_message(hash.as_bytes(), output))?;
                }
                Message::AuthenticationSasl(body) => {
                    let mechanisms = body.mechanisms().collect::<Vec<_>>().map_err(|error| self.broken(&error))?;
                    if !mechanisms.contains(&SCRAM_SHA_256) {
                        return Err(self.unknown_authentication());
                    }
                    let password = self.password(options)?;
                    let client = ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
                    let data = client.message().to_vec();
                    self.send_message(|output| frontend::sasl_initial_response(SCRAM_SHA_256, &data, output))?;
                    scram = Some(client);
                }
                Message::AuthenticationSaslContinue(body) => {
                    let Some(client) = &mut scram else { return Err(self.unexpected()) };
                    client.update(body.data()).map_err(|error| self.broken(&error))?;
                    let data = client.message().to_vec();
                    self.send_message(|output| frontend::sasl_response(&data, output))?;
                }
                Message::AuthenticationSaslFinal(body) => {
                    let Some(client) = &mut scram else { return Err(self.unexpected()) };
                    // The server proves that it knows the password.
                    client.finish(body.data()).map_err(|error| self.broken(&error))?;
                }
                Message::BackendKeyData(body) => self.process = body.process_id(),
                Message::ReadyForQuery(_) => return Ok(()),
                Message::ErrorResponse(body) => return Err(Failure::Refused(server_error(body.fields()))),
                Message::AuthenticationGss
                | Message::AuthenticationSspi
                | Message::AuthenticationKerberosV5
                | Message::AuthenticationScmCredential => return Err(self.unknown_authentication()),
                message => self.unasked(message)?,
            }
        }
    }

    /// Checks what is at the other end.
    fn check(&mut self) -> Result<()> {
        let server = self.server.clone();
        let text = "select pg_backend_pid(), current_setting('server_version_num'), version(), pg_is_in_recovery()";
        let rows = self.batch(text).map_err(|failure| failure.into_error(&server))?;
        let row = rows.first().ok_or_else(|| Error::unsupported(format!("{server} does not answer as PostgreSQL does")))?;
        let version = row.text(2).unwrap_or_default();
        if !version.starts_with("PostgreSQL ") || version.contains("Redshift") {
            return Err(Error::unsupported(format!(
                "{server} is {version}, whose advisory locks and sessions are not those of PostgreSQL; use PostgreSQL"
            )));
        }
        if row.number(1).is_none_or(|number| number < i64::from(OLDEST) * 10_000) {
            return Err(Error::unsupported(format!(
                "{server} is {version}; sessions of locks need idle_session_timeout, which is new in PostgreSQL {OLDEST}; upgrade it"
            )));
        }
        if row.number(0) != Some(self.process.into()) {
            return Err(Error::unsupported(format!(
                "{server} is a pooler or a proxy, which may give the session of a lock to other clients; \
                 connect to the PostgreSQL server itself"
            )));
        }
        if row.is_true(3) {
            return Err(Error::unsupported(format!(
                "{server} is a read-only standby, which has no locks; connect to the primary"
            )));
        }
        Ok(())
    }

    fn password(&self, options: &StoreOptions) -> Outcome<String> {
        password::find(&self.server, options.password_file.as_deref()).map_err(Failure::Broken)
    }

    fn unknown_authentication(&mut self) -> Failure {
        self.is_broken = true;
        Failure::Broken(Error::denied(
            self.server.to_string(),
            "it asks for an authentication that is not supported; allow scram-sha-256, peer or a certificate in pg_hba.conf",
        ))
    }

    fn unexpected(&mut self) -> Failure {
        self.broken(&io::Error::other("it sent a message that the protocol does not have there"))
    }

    /// Ends the connection, so that the server ends the session.
    fn end(&mut self) {
        self.is_broken = true;
        self.socket().shut_down();
    }

    /// Marks the connection as broken, and returns the failure.
    fn broken(&mut self, error: &io::Error) -> Failure {
        self.end();
        let reason = match error.kind() {
            io::ErrorKind::WouldBlock => "it did not answer in time".to_owned(),
            io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => "it closed the connection".to_owned(),
            _ => error.to_string(),
        };
        Failure::Broken(Error::unreachable(self.server.to_string(), reason))
    }

    /// Marks the connection as broken by an error with which the server ended it.
    fn ended(&mut self, error: ServerError) -> Failure {
        self.end();
        Failure::Broken(error.into_error(&self.server))
    }

    fn send_message(&mut self, write: impl FnOnce(&mut BytesMut) -> io::Result<()>) -> Outcome<()> {
        self.output.clear();
        let written = write(&mut self.output);
        self.sent(written)
    }

    /// Sends what was written to the output.
    fn sent(&mut self, written: io::Result<()>) -> Outcome<()> {
        let output = self.output.split();
        let sent = written.and_then(|()| self.transport.send(&output));
        // Reuses the memory.
        self.output = output;
        match sent {
            Ok(()) => Ok(()),
            // The server may have said why it closed the connection.
            Err(error) => match self.receive_notifications() {
                Err(failure) => Err(failure),
                Ok(()) => Err(self.broken(&error)),
            },
        }
    }

    /// Receives the rows of an answer, after the answers that are still to come.
    fn answer(&mut self) -> Outcome<Vec<Row>> {
        if !self.skip_owed()? {
            return Err(self.broken(&io::ErrorKind::WouldBlock.into()));
        }
        let answer = self.receive_answer().map_err(|stop| match stop {
            Stop::Refused(error) => Failure::Refused(error),
            Stop::Broken(failure) => failure,
            Stop::Late => self.broken(&io::ErrorKind::WouldBlock.into()),
        });
        if !self.is_broken {
            self.handle_received()?;
        }
        answer
    }

    /// Handles what was received together with an answer, because the socket is not readable any more.
    fn handle_received(&mut self) -> Outcome<()> {
        while let Some(message) = self.parse()? {
            self.unasked(message)?;
        }
        Ok(())
    }

    /// Receives one answer, up to the message that the server is ready again.
    fn receive_answer(&mut self) -> Result<Vec<Row>, Stop> {
        let (mut rows, mut refused) = (Vec::new(), None);
        loop {
            let message = match self.parse().map_err(Stop::Broken)? {
                Some(message) => message,
                None => match self.fill(true) {
                    Ok(()) => continue,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(Stop::Late),
                    Err(error) => return Err(Stop::Broken(self.broken(&error))),
                },
            };
            match message {
                Message::DataRow(body) => rows.push(row(&body).map_err(|error| Stop::Broken(self.broken(&error)))?),
                Message::ReadyForQuery(_) => return refused.map_or(Ok(rows), |error| Err(Stop::Refused(error))),
                Message::ErrorResponse(body) => {
                    let error = server_error(body.fields());
                    if error.is_fatal {
                        return Err(Stop::Broken(self.ended(error)));
                    }
                    refused.get_or_insert(error);
                }
                Message::ParseComplete
                | Message::BindComplete
                | Message::CloseComplete
                | Message::CommandComplete(_)
                | Message::EmptyQueryResponse
                | Message::NoData
                | Message::RowDescription(_) => {}
                message => self.unasked(message).map_err(Stop::Broken)?,
            }
        }
    }

    /// Handles a message that the server sends at any time.
    fn unasked(&mut self, message: Message) -> Outcome<()> {
        match message {
            Message::NotificationResponse(body) => {
                let text = body.message().map_err(|error| self.broken(&error))?.to_owned();
                self.notifications.push(text);
                Ok(())
            }
            Message::NoticeResponse(_) | Message::ParameterStatus(_) => Ok(()),
            Message::ErrorResponse(body) => Err(self.ended(server_error(body.fields()))),
            _ => Err(self.unexpected()),
        }
    }

    /// Removes a prepared statement, which may not exist.
    fn forget(&mut self, name: &'static str) -> Outcome<()> {
        self.output.clear();
        let written = frontend::close(b'S', name, &mut self.output).map(|()| frontend::sync(&mut self.output));
        self.sent(written)?;
        self.answer().map(drop)
    }

    fn message(&mut self) -> Outcome<Message> {
        loop {
            if let Some(message) = self.parse()? {
                return Ok(message);
            }
            self.fill(true).map_err(|error| self.broken(&error))?;
        }
    }

    fn parse(&mut self) -> Outcome<Option<Message>> {
        Message::parse(&mut self.input).map_err(|error| self.broken(&error))
    }

    fn fill(&mut self, may_block: bool) -> io::Result<()> {
        let mut buffer = [0; 8192];
        match self.transport.receive(&mut buffer, may_block)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            received => {
                self.input.extend_from_slice(&buffer[..received]);
                Ok(())
            }
        }
    }
}

/// Why an answer is not complete.
enum Stop {
    Refused(ServerError),
    Broken(Failure),
    /// The time limit passed.
    Late,
}

impl Transport {
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.send(bytes),
            #[cfg(feature = "tls")]
            Self::Encrypted(encrypted) => encrypted.send(bytes),
        }
    }

    fn receive(&mut self, buffer: &mut [u8], may_block: bool) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.receive(buffer, may_block),
            #[cfg(feature = "tls")]
            Self::Encrypted(encrypted) => encrypted.receive(buffer, may_block),
        }
    }
}

fn row(body: &DataRowBody) -> io::Result<Row> {
    let ranges = body.ranges();
    let cell = |range: Option<std::ops::Range<usize>>| {
        let bytes = range.map(|range| body.buffer().get(range).ok_or(io::ErrorKind::InvalidData)).transpose()?;
        let text = bytes.map(|bytes| String::from_utf8(bytes.to_vec())).transpose();
        text.map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
    };
    Ok(Row(ranges.map(cell).collect()?))
}

fn server_error(fields: ErrorFields<'_>) -> ServerError {
    let mut error = ServerError::default();
    let read = fields.for_each(|field| {
        let text = || String::from_utf8_lossy(field.value_bytes()).into_owned();
        match field.type_() {
            b'C' => error.code = text(),
            b'M' => error.message = text(),
            b'D' => error.detail = text(),
            b'H' => error.hint = text(),
            b'V' => error.is_fatal = matches!(field.value_bytes(), b"FATAL" | b"PANIC"),
            _ => {}
        }
        Ok(())
    });
    if read.is_err() {
        error.message.push_str(" (the rest of the error is unreadable)");
    }
    error
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("server", &self.server)
            .field("process", &self.process)
            .field("is_broken", &self.is_broken)
            .finish_non_exhaustive()
    }
}
