//! `backends`: lists the linked backends and their capabilities.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::cli::Format;
use crate::exit::Failure;
use crate::output::{self, Rows};

#[derive(Serialize)]
struct Entry {
    scheme: &'static str,
    #[serde(rename = "crate")]
    crate_name: &'static str,
    about: &'static str,
    capabilities: BTreeMap<&'static str, &'static str>,
}

pub(crate) fn backends(format: &Format) -> Result<(), Failure> {
    let backends = lock_any::backends()?;
    if format.json {
        let entries = backends.iter().map(|backend| Entry {
            scheme: backend.scheme(),
            crate_name: backend.crate_name(),
            about: backend.about(),
            capabilities: backend.capabilities().rows().into_iter().collect(),
        });
        return Ok(output::print_json(&entries.collect::<Vec<_>>())?);
    }
    if backends.is_empty() {
        output::message("no backend is linked; build lockctl with one of the features shm, file, sem, etcd, postgres");
        return Ok(());
    }
    // One column per backend, because there are more capabilities than backends.
    let mut titles = vec!["SCHEME"];
    titles.extend(backends.iter().map(lock_any::Backend::scheme));
    let mut rows = Rows::new(&titles);
    let mut row = |title: &'static str, cell: &dyn Fn(&lock_any::Backend) -> &'static str| {
        rows.push(std::iter::once(title).chain(backends.iter().map(cell)));
    };
    row("crate", &|backend| backend.crate_name());
    row("about", &|backend| backend.about());
    let claims = lock_any::Capabilities::minimal().rows();
    for (at, (title, _)) in claims.into_iter().enumerate() {
        row(title, &|backend| backend.capabilities().rows()[at].1);
    }
    Ok(rows.print()?)
}
