use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::{Capabilities, Error, Manager, Operation, Result, StoreUrl};

/// Whether an opening creates the store.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum OpenMode {
    /// Opens a store that exists.
    Open,
    /// Creates a store that does not exist.
    Create,
    /// Opens the store if it exists, and creates it otherwise. When two callers race, one creates the store and the other opens it.
    OpenOrCreate,
}

/// The function with which a backend opens a store.
pub type OpenFn = fn(&StoreUrl, OpenMode) -> Result<Arc<dyn Manager>>;

/// The function with which a backend prepares a server for stores.
pub type MigrateFn = fn(&StoreUrl) -> Result<()>;

/// A kind of store: its scheme, its claims and its open function.
///
/// A backend crate has one as a `pub const BACKEND` and registers it with [`register!`](crate::register).
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use lock_core::{Backend, Capabilities, Error, Manager, OpenMode, Result, StoreUrl};
///
/// fn open(url: &StoreUrl, _mode: OpenMode) -> Result<Arc<dyn Manager>> {
///     Err(Error::unsupported(format!("{url} is only an example")))
/// }
///
/// pub const BACKEND: Backend =
///     Backend::new("example", env!("CARGO_PKG_NAME"), "an example", open).with(Capabilities::minimal());
///
/// lock_core::register!(BACKEND);
/// # fn main() { assert_eq!(BACKEND.scheme(), "example"); }
/// ```
#[derive(Clone, Copy)]
pub struct Backend {
    scheme: &'static str,
    crate_name: &'static str,
    about: &'static str,
    capabilities: Capabilities,
    open: OpenFn,
    migrate: Option<MigrateFn>,
}

impl Backend {
    /// Creates a backend with the weakest claims, [`Capabilities::minimal`].
    pub const fn new(scheme: &'static str, crate_name: &'static str, about: &'static str, open: OpenFn) -> Self {
        Self { scheme, crate_name, about, capabilities: Capabilities::minimal(), open, migrate: None }
    }

    /// Sets the claims.
    #[must_use]
    pub const fn with(mut self, capabilities: Capabilities) -> Self {
        self.capabilities = capabilities;
        self
    }

    /// Sets the function that prepares a server for stores, or brings what an earlier version prepared up to date.
    #[must_use]
    pub const fn with_migration(mut self, migrate: MigrateFn) -> Self {
        self.migrate = Some(migrate);
        self
    }

    /// Returns the scheme of its URLs.
    pub const fn scheme(&self) -> &'static str {
        self.scheme
    }

    /// Returns the name of its crate.
    pub const fn crate_name(&self) -> &'static str {
        self.crate_name
    }

    /// Returns a description of at most one line.
    pub const fn about(&self) -> &'static str {
        self.about
    }

    /// Returns its claims.
    pub const fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// Opens a store. The scheme of the URL is not checked. Programs call [`Store::open`](crate::Store::open).
    ///
    /// # Errors
    /// As [`Store::with_backend`](crate::Store::with_backend).
    pub fn open(&self, url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        (self.open)(url, mode)
    }
}

impl Backend {
    /// Prepares the server of this URL for stores, or brings what an earlier version prepared up to date.
    ///
    /// An administrator calls it with more rights than those of the programs that use the stores. They then need no right to create tables.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) when stores of this backend need no preparation; otherwise as
    /// [`Store::with_backend`](crate::Store::with_backend).
    pub fn migrate(&self, url: &StoreUrl) -> Result<()> {
        let migrate = || match self.migrate {
            Some(migrate) => migrate(url),
            None => Err(Error::unsupported("its stores need no preparation; create one")),
        };
        migrate().map_err(|error| error.in_context(Operation::Migrate, &url.shown(), None))
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backend")
            .field("scheme", &self.scheme)
            .field("crate_name", &self.crate_name)
            .field("capabilities", &self.capabilities)
            .finish_non_exhaustive()
    }
}

/// Two backends are equal if they have the same scheme and the same crate.
impl PartialEq for Backend {
    fn eq(&self, other: &Self) -> bool {
        (self.scheme, self.crate_name) == (other.scheme, other.crate_name)
    }
}

impl Eq for Backend {}

impl Hash for Backend {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.scheme, self.crate_name).hash(state);
    }
}
