//! The backends of this repository: those that are linked, and what to do to have the others.

use lock_core::Backend;

/// Those whose features are on.
pub(crate) const LINKED: &[Backend] = &[
    #[cfg(feature = "shm")]
    lock_shm::BACKEND,
    #[cfg(feature = "file")]
    lock_file::BACKEND,
    #[cfg(feature = "file")]
    lock_file::LXC,
    #[cfg(feature = "sem")]
    lock_sem::SYSV,
    #[cfg(feature = "sem")]
    lock_sem::POSIX,
];

/// A scheme of this repository, whether the feature that adds it is on, and what to do when it is not.
struct Scheme {
    name: &'static str,
    linked: bool,
    advice: &'static str,
}

macro_rules! schemes {
    ($($name:literal => $feature:literal,)+) => {
        &[$(Scheme {
            name: $name,
            linked: cfg!(feature = $feature),
            advice: concat!("switch on the feature `", $feature, "` of lock-any"),
        },)+]
    };
}

const SCHEMES: &[Scheme] = schemes! {
    "shm" => "shm",
    "file" => "file",
    "lxc" => "file",
    "sem" => "sem",
    "posix-sem" => "sem",
    "podman" => "podman",
};

/// The schemes whose features are off, each with the advice to switch it on.
pub(crate) fn absent() -> impl Iterator<Item = (&'static str, &'static str)> {
    SCHEMES.iter().filter(|scheme| !scheme.linked).map(|scheme| (scheme.name, scheme.advice))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_known_scheme_that_is_not_linked_is_answered_with_its_feature() {
        let registry = crate::registry().unwrap();
        for scheme in super::SCHEMES.iter().filter(|scheme| !scheme.linked) {
            let error = registry.find(scheme.name).unwrap_err().to_string();
            assert!(error.contains(scheme.advice), "{error}");
        }
    }

    #[test]
    fn every_built_in_backend_is_found_by_its_scheme_and_listed_among_the_known_ones() {
        let registry = crate::registry().unwrap();
        for backend in super::LINKED {
            assert_eq!(registry.find(backend.scheme()).unwrap(), backend);
            assert!(super::SCHEMES.iter().any(|scheme| scheme.name == backend.scheme() && scheme.linked));
        }
    }

    #[test]
    fn an_unknown_scheme_is_answered_with_those_that_are_linked() {
        let error = crate::open("no-such-scheme:x").unwrap_err().to_string();
        for backend in super::LINKED {
            assert!(error.contains(backend.scheme()), "{error}");
        }
        assert!(!error.contains("feature"), "{error}");
    }
}
