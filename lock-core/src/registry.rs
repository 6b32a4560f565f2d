use std::collections::BTreeMap;

use crate::{Backend, Error, Result};

#[doc(hidden)]
#[derive(Debug)]
pub struct Registration(pub Backend);

inventory::collect!(Registration);

/// Registers a [`Backend`] in every program that links the calling crate.
///
/// The compiler does not link a crate that no Rust code names. A program that uses a backend only by URL therefore names its crate
/// once: `use my_backend as _;`.
#[macro_export]
macro_rules! register {
    ($backend:expr) => {
        $crate::__private::inventory::submit! { $crate::__private::Registration($backend) }
    };
}

/// A set of backends, with one backend per scheme.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Registry {
    backends: BTreeMap<&'static str, Backend>,
    absent: Vec<(&'static str, &'static str)>,
}

impl Registry {
    /// Returns the backends that the crates of this program have registered with [`register!`](crate::register).
    ///
    /// # Errors
    /// [`ErrorKind::DuplicateScheme`](crate::ErrorKind::DuplicateScheme) when two crates claim the same scheme.
    pub fn linked() -> Result<Self> {
        Self::default().merge(inventory::iter::<Registration>.into_iter().map(|registration| registration.0))
    }

    /// Adds backends. A backend that is already in the registry is not an error.
    ///
    /// # Errors
    /// [`ErrorKind::DuplicateScheme`](crate::ErrorKind::DuplicateScheme) when two crates claim the same scheme.
    pub fn merge(mut self, backends: impl IntoIterator<Item = Backend>) -> Result<Self> {
        for backend in backends {
            if let Some(first) = self.backends.insert(backend.scheme(), backend)
                && first != backend
            {
                let (a, b) = (first.crate_name(), backend.crate_name());
                let (first, second) = if a < b { (a, b) } else { (b, a) };
                return Err(Error::duplicate_scheme(backend.scheme().to_owned(), first, second));
            }
        }
        Ok(self)
    }

    /// Adds schemes that exist but are not linked, each with advice for the error of [`Registry::find`].
    #[must_use]
    pub fn with_absent(mut self, absent: impl IntoIterator<Item = (&'static str, &'static str)>) -> Self {
        self.absent.extend(absent);
        self
    }

    /// Returns the backends, ordered by scheme.
    pub fn backends(&self) -> impl Iterator<Item = &Backend> {
        self.backends.values()
    }

    /// Returns the backend of a scheme.
    ///
    /// # Errors
    /// [`ErrorKind::UnknownScheme`](crate::ErrorKind::UnknownScheme), which lists the linked schemes and contains the advice of
    /// [`Registry::with_absent`].
    pub fn find(&self, scheme: &str) -> Result<&Backend> {
        self.backends.get(scheme).ok_or_else(|| self.unknown(scheme))
    }

    fn unknown(&self, scheme: &str) -> Error {
        let linked = match self.backends.keys().copied().collect::<Vec<_>>() {
            schemes if schemes.is_empty() => "no scheme is linked".to_owned(),
            schemes => format!("linked: {}", schemes.join(", ")),
        };
        let advice = self.absent.iter().find(|(absent, _)| *absent == scheme).map(|(_, advice)| *advice);
        let hint = advice.map_or(linked.clone(), |advice| format!("{advice} ({linked})"));
        Error::unknown_scheme(scheme, hint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Backend = Backend::new("x", "crate-a", "", |_, _| Err(Error::unsupported("a test")));
    const B: Backend = Backend::new("x", "crate-b", "", |_, _| Err(Error::unsupported("a test")));

    #[test]
    fn a_duplicate_scheme_error_names_both_crates() {
        let error = Registry::default().merge([B, A]).unwrap_err().to_string();
        assert!(error.contains("crate-a and crate-b"), "{error}");
    }

    #[test]
    fn merging_a_backend_twice_keeps_one() {
        assert_eq!(Registry::default().merge([A, A]).unwrap().backends().count(), 1);
    }

    #[test]
    fn an_unknown_scheme_error_lists_the_linked_schemes_and_gives_advice() {
        let registry = Registry::default().merge([A]).unwrap().with_absent([("y", "enable the feature y")]);
        assert_eq!(registry.find("x").unwrap().crate_name(), "crate-a");
        let error = registry.find("y").unwrap_err().to_string();
        assert!(error.contains("enable the feature y") && error.contains("linked: x"), "{error}");
        assert!(registry.find("z").unwrap_err().to_string().contains("linked: x"));
    }
}
