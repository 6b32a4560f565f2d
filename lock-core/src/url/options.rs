use std::fmt;
use std::str::FromStr;

use super::StoreUrl;
use crate::Result;

/// The options of a [`StoreUrl`].
///
/// A backend takes the options that it supports; [`Options::finish`] refuses the remaining ones.
#[derive(Debug)]
pub struct Options<'a> {
    url: &'a StoreUrl,
    remaining: Vec<&'a (String, String)>,
    known: Vec<&'static str>,
}

/// The option that each scheme has, and no backend takes.
pub(super) const DEADLOCKS: &str = "deadlocks";

impl<'a> Options<'a> {
    /// Returns the options for the backend.
    pub(super) fn new(url: &'a StoreUrl, options: &'a [(String, String)]) -> Self {
        Self { url, remaining: options.iter().filter(|(key, _)| key != DEADLOCKS).collect(), known: Vec::new() }
    }

    /// Returns the options that each scheme has.
    pub(super) fn of_all_schemes(url: &'a StoreUrl, options: &'a [(String, String)]) -> Self {
        Self { url, remaining: options.iter().filter(|(key, _)| key == DEADLOCKS).collect(), known: Vec::new() }
    }

    /// Removes the option `key` and parses its value.
    ///
    /// Returns `None` if the URL does not contain the option.
    ///
    /// # Errors
    /// [`ErrorKind::BadUrl`](crate::ErrorKind::BadUrl) with the error of the parser.
    pub fn take<T>(&mut self, key: &'static str) -> Result<Option<T>>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        self.known.push(key);
        let Some(at) = self.remaining.iter().position(|(name, _)| name == key) else { return Ok(None) };
        let (_, value) = self.remaining.remove(at);
        value.parse().map(Some).map_err(|e| self.url.error(format!("the option {key}={value}: {e}")))
    }

    /// Checks that no option remains.
    ///
    /// # Errors
    /// [`ErrorKind::BadUrl`](crate::ErrorKind::BadUrl) that names a remaining option and lists the options that were asked for.
    pub fn finish(self) -> Result<()> {
        let Some((key, _)) = self.remaining.first() else { return Ok(()) };
        let known = [self.known.as_slice(), &[DEADLOCKS]].concat().join(", ");
        let reason = format!("the scheme {} has no option {key:?}; its options are: {known}", self.url.scheme());
        Err(self.url.error(reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deadlock_policy::DeadlockPolicy;

    #[test]
    fn finish_names_the_unknown_option_and_lists_the_known_ones() {
        let url: StoreUrl = "shm:x?capacty=4".parse().unwrap();
        let mut options = url.options();
        assert_eq!(options.take::<u32>("capacity").unwrap(), None);
        let error = options.finish().unwrap_err().to_string();
        assert!(error.contains("capacty") && error.contains("its options are: capacity"), "{error}");
    }

    #[test]
    fn the_option_of_each_scheme_is_not_left_to_the_backend() {
        let url: StoreUrl = "shm:x?deadlocks=refuse".parse().unwrap();
        url.options().finish().unwrap();
        assert_eq!(url.deadlocks().unwrap(), DeadlockPolicy::Refuse);
        assert_eq!("shm:x".parse::<StoreUrl>().unwrap().deadlocks().unwrap(), DeadlockPolicy::Warn);
        let error = "shm:x?deadlocks=never".parse::<StoreUrl>().unwrap().deadlocks().unwrap_err().to_string();
        assert!(error.contains("deadlocks=never") && error.contains("`refuse`"), "{error}");
    }

    #[test]
    fn take_names_the_option_with_a_bad_value() {
        let url: StoreUrl = "shm:x?capacity=many".parse().unwrap();
        let error = url.options().take::<u32>("capacity").unwrap_err().to_string();
        assert!(error.contains("capacity=many"), "{error}");
    }
}
