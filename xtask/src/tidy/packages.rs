//! Packages: the published crates have what a package needs, and each `rust-version` is not lower than those of its dependencies.

use crate::Result;
use crate::metadata::Metadata;

/// Files of the package of a published crate.
const FILES: [&str; 3] = ["LICENSE-APACHE", "LICENSE-MIT", "README.md"];

pub(super) fn objections() -> Result<Vec<String>> {
    let metadata = Metadata::load()?;
    let mut objections = Vec::new();
    for package in metadata.published() {
        let missing = FILES.iter().filter(|file| !package.dir.join(file).exists());
        objections.extend(missing.map(|file| format!("{}: the package has no {file}", package.name)));
    }
    for (name, claim, dependency, needed) in metadata.rust_versions()? {
        if version(&claim) < version(&needed) {
            objections.push(format!("{name}: its rust-version is {claim}, but {dependency} needs {needed}"));
        }
    }
    Ok(objections)
}

/// The parts of a version as numbers. "1.88" is equal to "1.88.0".
fn version(text: &str) -> [u32; 3] {
    let mut parts = text.split('.').map(|part| part.parse().unwrap_or(0));
    std::array::from_fn(|_| parts.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(version("1.9") < version("1.88"));
        assert_eq!(version("1.88"), version("1.88.0"));
    }
}
