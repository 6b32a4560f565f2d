//! The metadata of the workspace.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::Result;
use crate::shell::{cargo, read};

/// The output of `cargo metadata`.
pub(crate) struct Metadata(Value);

/// A crate that is published.
pub(crate) struct Published {
    pub(crate) name: String,
    pub(crate) dir: PathBuf,
}

impl Metadata {
    /// Runs `cargo metadata`.
    pub(crate) fn load() -> Result<Self> {
        Ok(Self(serde_json::from_str(&read(&mut cargo(["metadata", "--format-version=1"]))?)?))
    }

    /// The crates of the workspace that are published.
    pub(crate) fn published(&self) -> Vec<Published> {
        let is_published = |package: &&Value| package["source"].is_null() && package["publish"].is_null();
        let packages = self.0["packages"].as_array().into_iter().flatten().filter(is_published);
        let published = packages.filter_map(|package| {
            let dir = Path::new(package["manifest_path"].as_str()?).parent()?;
            Some(Published { name: package["name"].as_str()?.to_owned(), dir: dir.to_owned() })
        });
        published.collect()
    }

    /// The `rust-version` of each crate of the workspace, and of each crate that it depends on: names and versions.
    pub(crate) fn rust_versions(&self) -> Result<Vec<(String, String, String, String)>> {
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let (packages, nodes) = (list(&self.0["packages"]), list(&self.0["resolve"]["nodes"]));
        let find = |id: &Value| packages.iter().find(|package| package["id"] == *id);
        let mut versions = Vec::new();
        for member in packages.iter().filter(|package| package["source"].is_null()) {
            let name = member["name"].as_str().unwrap_or_default();
            let claim = member["rust_version"].as_str().ok_or_else(|| format!("{name} has no rust-version"))?;
            let mut reached = vec![member["id"].clone()];
            let mut at = 0;
            while let Some(id) = reached.get(at).cloned() {
                for dependency in nodes.iter().filter(|node| node["id"] == id).flat_map(|node| list(&node["deps"])) {
                    // The tests of a dependency are not built.
                    let is_built = at == 0 || list(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"] != "dev");
                    if is_built && !reached.contains(&dependency["pkg"]) {
                        reached.push(dependency["pkg"].clone());
                    }
                }
                at += 1;
            }
            for package in reached.iter().filter_map(find) {
                if let (Some(dependency), Some(needed)) = (package["name"].as_str(), package["rust_version"].as_str()) {
                    versions.push((name.to_owned(), claim.to_owned(), dependency.to_owned(), needed.to_owned()));
                }
            }
        }
        Ok(versions)
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

    /// The `rust-version` of a package.
    pub(crate) fn rust_version(&self, package: &str) -> Result<&str> {
        Ok(self.package(package)?["rust_version"].as_str().ok_or("no rust-version")?)
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
