//! `new-backend`: writes a complete backend crate from the files in `templates/backend`.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Result;
use crate::metadata::Metadata;
use crate::shell::{self, root};

macro_rules! templates {
    ($($path:literal,)+) => {
        &[$(($path, include_str!(concat!("../templates/backend/", $path, ".in"))),)+]
    };
}

const TEMPLATES: &[(&str, &str)] = templates![
    "Cargo.toml",
    "README.md",
    "lockctl/Cargo.toml",
    "lockctl/src/main.rs",
    "src/dir.rs",
    "src/lib.rs",
    "src/lock.rs",
    "src/manager.rs",
    "tests/conformance.rs",
];

pub(crate) fn run(name: &str, path: Option<PathBuf>) -> Result<()> {
    let path = match path {
        Some(path) => std::path::absolute(path)?,
        None => root().parent().ok_or("the repository has no parent directory")?.join(name),
    };
    write(name, &path, Metadata::load()?.version("nix")?)?;
    println!("{} is ready; `cargo test` there runs the suite, `cargo run -p {name}-lockctl -- demo` the demo", path.display());
    Ok(())
}

/// Writes the crate into a directory that does not exist.
pub(crate) fn write(name: &str, path: &Path, nix: &str) -> Result<()> {
    let scheme = scheme_of(name)?;
    fs::create_dir_all(path.parent().ok_or("it has no parent directory")?)?;
    fs::create_dir(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let repository = root();
    let repository = repository.to_str().ok_or("the path of the repository is not UTF-8")?;
    let names = [
        ("{{crate}}", name),
        ("{{module}}", &name.replace('-', "_")),
        ("{{scheme}}", scheme),
        ("{{repository}}", &repository.replace('\\', "\\\\").replace('"', "\\\"")),
        ("{{nix}}", nix),
    ];
    for (file, template) in TEMPLATES {
        let text = names.iter().fold((*template).to_owned(), |text, (from, to)| text.replace(from, to));
        let file = path.join(file);
        fs::create_dir_all(file.parent().ok_or("it has no parent directory")?)?;
        fs::write(file, text)?;
    }
    // Pins the versions of the dependencies.
    fs::copy(root().join("Cargo.lock"), path.join("Cargo.lock"))?;
    // The inserted names change the width of lines.
    shell::run(shell::cargo(["fmt", "--all"]).current_dir(path))
}

/// Returns the scheme for a crate: its name without `lock-` and `-backend`.
fn scheme_of(name: &str) -> Result<&str> {
    let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.chars().all(letter) || name.ends_with('-') {
        return Err(format!("{name:?} is not a valid crate name; use lower-case letters, digits and hyphens").into());
    }
    let scheme = name.strip_prefix("lock-").unwrap_or(name);
    Ok(scheme.strip_suffix("-backend").unwrap_or(scheme))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_is_what_is_special_about_the_name() {
        assert_eq!(scheme_of("my-backend").unwrap(), "my");
        assert_eq!(scheme_of("lock-etcd").unwrap(), "etcd");
        assert_eq!(scheme_of("redis").unwrap(), "redis");
        for bad in ["", "My", "9p", "a_b", "a-", "../x"] {
            assert!(scheme_of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn no_mark_is_left_in_any_file() {
        let marks = ["{{crate}}", "{{module}}", "{{scheme}}", "{{repository}}", "{{nix}}"];
        for (file, template) in TEMPLATES {
            let rest = marks.iter().fold((*template).to_owned(), |text, mark| text.replace(mark, ""));
            // In Rust `{{` is also an escaped brace, but the templates need none.
            assert!(!rest.contains("{{"), "{file}");
        }
    }
}
