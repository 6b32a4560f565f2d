use std::fmt;
use std::sync::Arc;

use crate::{Capabilities, Manager, Result, StoreUrl};

/// Whether a store must exist, must not, or may.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum OpenMode {
    /// It must exist.
    Open,
    /// It must not exist.
    Create,
    /// Whichever it is. Of two racing callers one creates the store and the other opens that very one.
    OpenOrCreate,
}

/// The function by which a backend opens a store.
pub type OpenFn = fn(&StoreUrl, OpenMode) -> Result<Arc<dyn Manager>>;

/// A kind of store: its scheme, its claims and how it opens.
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
///     Backend::new("example", env!("CARGO_PKG_NAME"), "an example", open).with(Capabilities::least());
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
}

impl Backend {
    /// A backend with the smallest claim, [`Capabilities::least`].
    pub const fn new(scheme: &'static str, crate_name: &'static str, about: &'static str, open: OpenFn) -> Self {
        Self { scheme, crate_name, about, capabilities: Capabilities::least(), open }
    }

    /// The same with these claims.
    #[must_use]
    pub const fn with(mut self, capabilities: Capabilities) -> Self {
        self.capabilities = capabilities;
        self
    }

    /// The scheme of its URLs.
    pub const fn scheme(&self) -> &'static str {
        self.scheme
    }

    /// The crate that it comes from.
    pub const fn crate_name(&self) -> &'static str {
        self.crate_name
    }

    /// What it is, in a line.
    pub const fn about(&self) -> &'static str {
        self.about
    }

    /// What it claims.
    pub const fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// Opens a store with it, whatever the URL's scheme says. Programs call [`Store::open`](crate::Store::open) and its sisters.
    ///
    /// # Errors
    /// Those of the row "open" of the contract.
    pub fn open(&self, url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        (self.open)(url, mode)
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

/// Two are equal when their scheme and their crate are.
impl PartialEq for Backend {
    fn eq(&self, other: &Self) -> bool {
        (self.scheme, self.crate_name) == (other.scheme, other.crate_name)
    }
}

impl Eq for Backend {}
