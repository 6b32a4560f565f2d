//! The metadata of the workspace.

use std::path::PathBuf;

use serde_json::Value;

use crate::Result;
use crate::shell::{cargo, read};

/// The output of `cargo metadata`.
pub(crate) struct Metadata(Value);

impl Metadata {
    /// Runs `cargo metadata`.
    pub(crate) fn load() -> Result<Self> {
        Ok(Self(serde_json::from_str(&read(&mut cargo(["metadata", "--format-version=1"]))?)?))
    }

    /// The target directory.
    pub(crate) fn target(&self) -> Result<PathBuf> {
        Ok(self.0["target_directory"].as_str().ok_or("no target directory")?.into())
    }

    /// The features of a package, without `default`.
    pub(crate) fn features(&self, package: &str) -> Result<Vec<String>> {
        let features = self.package(package)?["features"].as_object().ok_or("no features")?;
        Ok(features.keys().filter(|name| *name != "default").cloned().collect())
    }

    /// The version of a package.
    pub(crate) fn version(&self, package: &str) -> Result<&str> {
        Ok(self.package(package)?["version"].as_str().ok_or("no version")?)
    }

    /// Whether the package has a test target of that name.
    pub(crate) fn has_test(&self, package: &str, test: &str) -> Result<bool> {
        let targets = self.package(package)?["targets"].as_array().ok_or("no targets")?;
        Ok(targets.iter().any(|target| target["name"] == test && target["kind"][0] == "test"))
    }

    /// The crates of the workspace without tests and examples: the name of each, and the file of its root module.
    pub(crate) fn roots(&self) -> Vec<(String, PathBuf)> {
        let packages = self.0["packages"].as_array().into_iter().flatten().filter(|package| package["source"].is_null());
        let targets = packages.flat_map(|package| {
            let targets = package["targets"].as_array().into_iter().flatten();
            let crates = targets.filter(|target| ["lib", "bin", "bench"].iter().any(|kind| target["kind"][0] == *kind));
            crates.map(move |target| (package["name"].as_str(), target["name"].as_str(), target["src_path"].as_str()))
        });
        let named = targets.filter_map(|(package, name, path)| Some((format!("{} ({})", package?, name?), path?.into())));
        named.collect()
    }

    fn package(&self, name: &str) -> Result<&Value> {
        let packages = self.0["packages"].as_array().ok_or("no packages")?;
        Ok(packages.iter().find(|package| package["name"] == name).ok_or_else(|| format!("there is no package {name}"))?)
    }
}
