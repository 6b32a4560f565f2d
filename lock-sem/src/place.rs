use std::path::{Path, PathBuf};

use lock_core::{Result, StoreUrl};

/// Where stores with a plain name are.
const DIRECTORY: &str = "/dev/shm";

/// The file of a store: `SCHEME:NAME` is in `/dev/shm`, `SCHEME:/path` is where it says.
pub(crate) fn path(url: &StoreUrl) -> Result<PathBuf> {
    let place = url.place();
    if Path::new(place).is_absolute() {
        return Ok(place.into());
    }
    if place.is_empty() || place.contains('/') || place.starts_with('.') || place.len() > 255 {
        let scheme = url.scheme();
        return Err(
            url.error(format!("write {scheme}:NAME, without a slash and with no dot at its start, or {scheme}:/absolute/path"))
        );
    }
    Ok(Path::new(DIRECTORY).join(place))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_in_shared_memory_and_a_path_is_where_it_says() {
        let path = |text: &str| path(&text.parse().unwrap());
        assert_eq!(path("sem:locks").unwrap(), Path::new("/dev/shm/locks"));
        assert_eq!(path("posix-sem:/run/locks").unwrap(), Path::new("/run/locks"));
        for bad in ["sem:", "sem:a/b", "sem:../x", "sem:.hidden"] {
            assert!(path(bad).unwrap_err().to_string().contains("write sem:NAME"), "{bad}");
        }
    }
}
