//! Stores at paths with special characters, and relative paths, on every linked backend.

mod local;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use lock_any::{Backend, ErrorKind, Lock, Numbering, Removal, Store, StoreOptions, StoreUrl, StoreUrlBuilder};

/// Names of directories: with the special characters of URLs, not UTF-8, and with all other bytes.
fn names() -> Vec<Vec<u8>> {
    let any = (1..=255).filter(|byte| *byte != b'/').collect::<Vec<u8>>();
    vec![
        b"a%41 b?c".to_vec(),
        b"100% done&x=1#".to_vec(),
        b"n\xffot UTF-8 \xc3".to_vec(),
        any[..200].to_vec(),
        any[200..].to_vec(),
    ]
}

/// Returns the builder of the URL of a store, whose files are all in the scratch directory.
fn url(backend: &Backend, path: &Path, scratch: &Path) -> StoreUrlBuilder {
    let url = StoreUrl::builder(backend.scheme()).path(path);
    match backend.scheme() {
        "lxc" => url.option("name", "web").option("rundir", scratch.join("run").display()),
        _ => url,
    }
}

fn allocate(store: &Store) -> Lock {
    match store.capabilities().numbering {
        Numbering::Single => store.single().unwrap(),
        _ => store.allocate("").unwrap(),
    }
}

/// Checks that both stores have the lock, in one process.
fn assert_same(created: &Store, opened: &Store) {
    assert_eq!(created.id(), opened.id());
    let lock = allocate(created);
    let guard = lock.lock().unwrap();
    let error = opened.retrieve(lock.id()).unwrap().lock().unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::AlreadyHeld), "{error}");
    drop(guard);
}

fn destroy(store: &Store) {
    if store.capabilities().removal == Removal::Supported {
        store.destroy().unwrap();
    }
}

#[test]
fn a_directory_of_any_name_holds_a_store_by_path_and_by_url() {
    for (backend, name) in local::backends().iter().flat_map(|backend| names().into_iter().map(move |name| (backend, name))) {
        let scratch = tempfile::tempdir().unwrap();
        let directory = scratch.path().join(OsStr::from_bytes(&name));
        fs::create_dir(&directory).unwrap();
        let path = directory.join("store");
        let by_path = lock_any::create(url(backend, &path, scratch.path())).unwrap();
        let text = by_path.url().to_owned();
        let by_text = lock_any::open(&text).unwrap();
        assert_same(&by_path, &by_text);
        let parsed: StoreUrl = text.parse().unwrap();
        assert_eq!(parsed.location(), path);
        assert_same(&by_path, &lock_any::open(&parsed).unwrap());
        if backend.scheme() != "lxc" {
            assert!(path.exists(), "{text}");
        }
        destroy(&by_path);
    }
}

/// Changes the current directory for a closure. The tests of this file that depend on it exclude each other.
fn in_directory<T>(directory: &Path, act: impl FnOnce() -> T) -> T {
    static CURRENT: Mutex<()> = Mutex::new(());
    let _guard = CURRENT.lock().unwrap();
    let before = std::env::current_dir().unwrap();
    std::env::set_current_dir(directory).unwrap();
    let done = act();
    std::env::set_current_dir(before).unwrap();
    done
}

#[test]
fn a_relative_path_is_absolute_from_the_opening_on() {
    for backend in local::backends() {
        let scratch = tempfile::tempdir().unwrap();
        let (work, elsewhere) = (scratch.path().join("100% work"), scratch.path().join("elsewhere"));
        fs::create_dir(&work).unwrap();
        fs::create_dir(&elsewhere).unwrap();
        let options = match backend.scheme() {
            "lxc" => format!("?name=web&rundir={}", scratch.path().join("run").display()),
            _ => String::new(),
        };
        let text = |location: &str| format!("{}:{location}{options}", backend.scheme());
        let created = in_directory(&work, || lock_any::create(text("./store")).unwrap());
        let location = |store: &Store| store.url().parse::<StoreUrl>().unwrap().location().to_owned();
        assert_eq!(location(&created), fs::canonicalize(&work).unwrap().join("store"));
        in_directory(&elsewhere, || {
            assert_same(&created, &lock_any::open(created.url()).unwrap());
            assert_same(&created, &lock_any::open(text("../100%25 work/store")).unwrap());
            created.check().unwrap();
        });
        destroy(&created);
        assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
    }
}

/// Returns whether the backend has the layout of its files, and not another project.
fn has_files_of_its_own(backend: &Backend) -> bool {
    !["lxc", "podman"].contains(&backend.scheme())
}

#[test]
fn a_private_store_gets_the_missing_directories_of_its_path() {
    // podman has its directory.
    for backend in local::backends().iter().filter(|backend| backend.scheme() != "podman") {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("a/b/store");
        let store = lock_any::open_or_create(url(backend, &path, scratch.path())).unwrap();
        if backend.scheme() != "lxc" {
            let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
            assert_eq!([mode(scratch.path().join("a")), mode(scratch.path().join("a/b"))], [0o700, 0o700]);
        }
        destroy(&store);
    }
}

#[test]
fn a_shared_store_is_not_created_in_a_missing_directory_which_is_named() {
    for backend in local::backends().iter().filter(|backend| has_files_of_its_own(backend)) {
        let scratch = tempfile::tempdir().unwrap();
        let directory = scratch.path().join("none");
        let url = url(backend, &directory.join("store"), scratch.path());
        let error = StoreOptions::new().mode(0o660).create(url).unwrap_err().to_string();
        assert!(error.contains(&format!("the directory {} does not exist", directory.display())), "{error}");
        assert!(!directory.exists());
    }
}

#[test]
fn options_are_added_to_those_of_the_url_and_not_twice() {
    for backend in local::backends().iter().filter(|backend| has_files_of_its_own(backend)) {
        let scratch = tempfile::tempdir().unwrap();
        let url = url(backend, &scratch.path().join("store"), scratch.path()).option("mode", "0660").build().unwrap();
        let store = StoreOptions::new().capacity(7).create(&url).unwrap();
        assert_eq!((store.capacity(), store.url()), (Some(7), format!("{url}&capacity=7").as_str()));
        let error = StoreOptions::new().mode(0o660).open(&url).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::BadUrl) && error.to_string().contains("\"mode\" occurs twice"), "{error}");
        let error = StoreOptions::new().capacity(8).open(&url).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::OtherCapacity), "{error}");
        let error = StoreOptions::new().option("colour", "red").open(url).unwrap_err().to_string();
        assert!(error.contains("no option \"colour\""), "{error}");
        destroy(&store);
    }
}
