use std::fmt;

use lock_core::{Error, OpenMode, Result, Store, StoreUrl};

/// Options with which a store is opened or created, in addition to those of its URL.
///
/// All options are checked at each opening, as those of a URL. A backend refuses an option that it does not have. The backends of
/// numbered locks have all options of this type, and `lock_table::TableOptions` describes them.
///
/// # Examples
#[cfg_attr(feature = "shm", doc = "```")]
#[cfg_attr(not(feature = "shm"), doc = "```ignore")]
/// # let temporary = tempfile::tempdir().unwrap();
/// # let directory = temporary.path();
/// use lock_any::{StoreOptions, StoreUrl};
///
/// let url = StoreUrl::builder("shm").path(directory.join("locks")).build()?;
/// let store = StoreOptions::new().capacity(4096).mode(0o660).open_or_create(url)?;
/// assert_eq!(store.capacity(), Some(4096));
/// assert!(store.url().ends_with("/locks?capacity=4096&mode=0660"));
/// # Ok::<(), lock_any::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[must_use = "options do nothing until a store is opened with them"]
pub struct StoreOptions {
    options: Vec<(String, String)>,
}

impl StoreOptions {
    /// Creates an empty set of options.
    pub const fn new() -> Self {
        Self { options: Vec::new() }
    }

    /// Sets the maximum number of locks, at least 1. The default of a new store is 1,048,576.
    pub fn capacity(self, locks: u32) -> Self {
        self.option("capacity", locks)
    }

    /// Removes the bound on the number of locks.
    pub fn unbounded(self) -> Self {
        self.option("capacity", "unbounded")
    }

    /// Sets the permission bits of a new store, for example `0o660`, which are also the maximum of an existing one.
    ///
    /// The default is 0600, and 0660 with [`StoreOptions::group`].
    pub fn mode(self, bits: u32) -> Self {
        self.option("mode", format_args!("{bits:04o}"))
    }

    /// Sets the group of the store, by its name or its id. The members of the group share the store.
    pub fn group(self, group: impl fmt::Display) -> Self {
        self.option("group", group)
    }

    /// Accepts a store of this user, by its name or its id, besides those of the caller and root. A store that root creates belongs to
    /// the user.
    pub fn owner(self, user: impl fmt::Display) -> Self {
        self.option("owner", user)
    }

    /// Accepts a store of any user. The caller trusts all users that can create a file at the path of the store.
    pub fn any_owner(self) -> Self {
        self.option("owner", "any")
    }

    /// Accepts any kind of file system, also one that other machines share.
    pub fn any_filesystem(self) -> Self {
        self.option("filesystem", "any")
    }

    /// Sets an option of a backend, with the text that its value has in a URL.
    pub fn option(mut self, key: impl Into<String>, value: impl fmt::Display) -> Self {
        let (key, value) = (key.into(), value.to_string());
        self.options.retain(|(other, _)| *other != key);
        self.options.push((key, value));
        self
    }

    /// Opens an existing store, as [`open`](crate::open) does.
    ///
    /// # Errors
    /// As [`open`](crate::open); [`ErrorKind::BadUrl`](crate::ErrorKind::BadUrl) also when the URL contains one of the options.
    pub fn open(&self, url: impl TryInto<StoreUrl, Error: Into<Error>>) -> Result<Store> {
        self.open_with(url, OpenMode::Open)
    }

    /// Creates a store, as [`create`](crate::create) does.
    ///
    /// # Errors
    /// As [`create`](crate::create) and [`StoreOptions::open`].
    pub fn create(&self, url: impl TryInto<StoreUrl, Error: Into<Error>>) -> Result<Store> {
        self.open_with(url, OpenMode::Create)
    }

    /// Opens a store, and creates it if it is absent, as [`open_or_create`](crate::open_or_create) does.
    ///
    /// # Errors
    /// As [`open_or_create`](crate::open_or_create) and [`StoreOptions::open`].
    pub fn open_or_create(&self, url: impl TryInto<StoreUrl, Error: Into<Error>>) -> Result<Store> {
        self.open_with(url, OpenMode::OpenOrCreate)
    }

    /// Opens a store in the given mode.
    ///
    /// # Errors
    /// As the function for that mode.
    pub fn open_with(&self, url: impl TryInto<StoreUrl, Error: Into<Error>>, mode: OpenMode) -> Result<Store> {
        let url = url.try_into().map_err(Into::into)?;
        let url = self.options.iter().try_fold(url, |url, (key, value)| url.with_option(key, value))?;
        crate::open_with(url, mode)
    }
}
