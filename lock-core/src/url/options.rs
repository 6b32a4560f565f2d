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

impl<'a> Options<'a> {
    pub(super) fn new(url: &'a StoreUrl, options: &'a [(String, String)]) -> Self {
        Self { url, remaining: options.iter().collect(), known: Vec::new() }
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
        let known = if self.known.is_empty() { "none".to_owned() } else { self.known.join(", ") };
        let reason = format!("the scheme {} has no option {key:?}; its options are: {known}", self.url.scheme());
        Err(self.url.error(reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finish_names_the_unknown_option_and_lists_the_known_ones() {
        let url: StoreUrl = "shm:x?capacty=4".parse().unwrap();
        let mut options = url.options();
        assert_eq!(options.take::<u32>("capacity").unwrap(), None);
        let error = options.finish().unwrap_err().to_string();
        assert!(error.contains("capacty") && error.contains("its options are: capacity"), "{error}");
    }

    #[test]
    fn take_names_the_option_with_a_bad_value() {
        let url: StoreUrl = "shm:x?capacity=many".parse().unwrap();
        let error = url.options().take::<u32>("capacity").unwrap_err().to_string();
        assert!(error.contains("capacity=many"), "{error}");
    }
}
