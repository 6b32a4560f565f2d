//! The backends of this repository: the linked ones, and the features that link the others.

use lock_core::Backend;

/// The backends whose features are enabled.
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
    #[cfg(feature = "podman")]
    lock_podman::BACKEND,
    #[cfg(feature = "podman")]
    lock_podman::FILES,
    #[cfg(feature = "etcd")]
    lock_etcd::BACKEND,
    #[cfg(feature = "postgres")]
    lock_postgres::BACKEND,
];

/// A scheme of this repository: whether it is linked, and how to link it.
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
            advice: concat!("enable the feature `", $feature, "` of lock-any"),
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
    "podman-file" => "podman",
    "etcd" => "etcd",
    "postgres" => "postgres",
};

/// The schemes whose features are disabled, each with the advice to enable it.
pub(crate) fn absent() -> impl Iterator<Item = (&'static str, &'static str)> {
    SCHEMES.iter().filter(|scheme| !scheme.linked).map(|scheme| (scheme.name, scheme.advice))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_error_for_an_unlinked_scheme_names_its_feature() {
        let registry = crate::registry().unwrap();
        for scheme in super::SCHEMES.iter().filter(|scheme| !scheme.linked) {
            let error = registry.find(scheme.name).unwrap_err().to_string();
            assert!(error.contains(scheme.advice), "{error}");
        }
    }

    #[test]
    fn every_linked_backend_is_found_by_its_scheme() {
        let registry = crate::registry().unwrap();
        for backend in super::LINKED {
            assert_eq!(registry.find(backend.scheme()).unwrap(), backend);
            assert!(super::SCHEMES.iter().any(|scheme| scheme.name == backend.scheme() && scheme.linked));
        }
    }

    #[test]
    fn the_error_for_an_unknown_scheme_lists_the_linked_ones() {
        let error = crate::open("no-such-scheme:x").unwrap_err().to_string();
        for backend in super::LINKED {
            assert!(error.contains(backend.scheme()), "{error}");
        }
        assert!(!error.contains("feature"), "{error}");
    }
}
