use std::collections::BTreeMap;

use crate::{Backend, Error, ErrorKind, Result};

#[doc(hidden)]
#[derive(Debug)]
pub struct Registration(pub Backend);

inventory::collect!(Registration);

/// Registers a [`Backend`] with every program that links the crate it stands in.
///
/// A crate that nothing names in Rust is not linked at all, and then its registration is not there either: a program that uses a
/// backend only by URL names it once, `use my_backend as _;`.
#[macro_export]
macro_rules! register {
    ($backend:expr) => {
        $crate::__private::inventory::submit! { $crate::__private::Registration($backend) }
    };
}

/// The backends that a program can open stores with.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    backends: BTreeMap<&'static str, Backend>,
    absent: Vec<(&'static str, &'static str)>,
}

impl Registry {
    /// What the crates of this program have registered.
    ///
    /// # Errors
    /// [`ErrorKind::DuplicateScheme`] when two crates claim one scheme.
    pub fn linked() -> Result<Self> {
        Self::default().merge(inventory::iter::<Registration>.into_iter().map(|registration| registration.0))
    }

    /// The same with these backends, too. One that is there already is not a duplicate of itself.
    ///
    /// # Errors
    /// [`ErrorKind::DuplicateScheme`] when two crates claim one scheme.
    pub fn merge(mut self, backends: impl IntoIterator<Item = Backend>) -> Result<Self> {
        for backend in backends {
            if let Some(first) = self.backends.insert(backend.scheme(), backend)
                && first != backend
            {
                let (a, b) = (first.crate_name(), backend.crate_name());
                let (first, second) = if a < b { (a, b) } else { (b, a) };
                return Err(ErrorKind::DuplicateScheme { scheme: backend.scheme().to_owned(), first, second }.into());
            }
        }
        Ok(self)
    }

    /// The same with the knowledge that these schemes exist, each with what to do to have it (`(scheme, advice)`).
    #[must_use]
    pub fn knowing(mut self, absent: impl IntoIterator<Item = (&'static str, &'static str)>) -> Self {
        self.absent.extend(absent);
        self
    }

    /// The backends, by scheme.
    pub fn backends(&self) -> impl Iterator<Item = &Backend> {
        self.backends.values()
    }

    /// The backend of a scheme.
    ///
    /// # Errors
    /// [`ErrorKind::UnknownScheme`], which lists the schemes that are there and says how to get one that is known.
    pub fn find(&self, scheme: &str) -> Result<&Backend> {
        self.backends.get(scheme).ok_or_else(|| self.unknown(scheme))
    }

    fn unknown(&self, scheme: &str) -> Error {
        let known = match self.backends.keys().copied().collect::<Vec<_>>() {
            schemes if schemes.is_empty() => "there is none at all".to_owned(),
            schemes => format!("there is: {}", schemes.join(", ")),
        };
        let advice = self.absent.iter().find(|(absent, _)| *absent == scheme).map(|(_, advice)| *advice);
        let hint = advice.map_or(known.clone(), |advice| format!("{advice} ({known})"));
        ErrorKind::UnknownScheme { scheme: scheme.to_owned(), hint }.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Backend = Backend::new("x", "crate-a", "", |_, _| Err(Error::unsupported("a test")));
    const B: Backend = Backend::new("x", "crate-b", "", |_, _| Err(Error::unsupported("a test")));

    #[test]
    fn two_crates_with_one_scheme_are_an_error_that_names_both() {
        let error = Registry::default().merge([B, A]).unwrap_err().to_string();
        assert!(error.contains("crate-a and crate-b"), "{error}");
    }

    #[test]
    fn a_backend_that_is_listed_and_registered_is_one() {
        assert_eq!(Registry::default().merge([A, A]).unwrap().backends().count(), 1);
    }

    #[test]
    fn an_unknown_scheme_lists_what_is_there_and_how_to_get_it() {
        let registry = Registry::default().merge([A]).unwrap().knowing([("y", "switch on the feature y")]);
        assert_eq!(registry.find("x").unwrap().crate_name(), "crate-a");
        let error = registry.find("y").unwrap_err().to_string();
        assert!(error.contains("switch on the feature y") && error.contains("there is: x"), "{error}");
        assert!(registry.find("z").unwrap_err().to_string().contains("there is: x"));
    }
}
