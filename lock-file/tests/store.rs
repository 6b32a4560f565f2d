//! The directory of a store: modes, owners, damage, foreign programs and removal.

use std::fs::{self, File, Permissions};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use lock_core::{ErrorDetails, ErrorKind, LockId, OpenMode, Result, Store};
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use rstest::{fixture, rstest};
use tempfile::TempDir;

fn open(directory: &Path, mode: OpenMode, options: &str) -> Result<Store> {
    let url = format!("file:{}{options}", directory.display());
    Store::with_backend(&lock_file::BACKEND, &url.parse()?, mode)
}

fn create(directory: &Path) -> Store {
    open(directory, OpenMode::Create, "").unwrap()
}

fn lock_file(store: &Store, id: u32) -> PathBuf {
    let details = store.details();
    let (_, locks) = details.iter().find(|(title, _)| *title == "lock files").unwrap();
    Path::new(locks).join(format!("{:02x}/{id}", id % 256))
}

fn mode_of(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

/// Locks the file as a foreign program does. Returns false if it is locked.
fn lock_directly(file: &File) -> bool {
    let range = libc::flock { l_type: libc::F_WRLCK as i16, l_whence: libc::SEEK_SET as i16, l_start: 0, l_len: 0, l_pid: 0 };
    fcntl(file.as_fd(), FcntlArg::F_OFD_SETLK(&range)).is_ok()
}

#[fixture]
fn scratch() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[rstest]
fn a_store_has_the_mode_of_its_url_and_is_private_by_default(scratch: TempDir) {
    let directory = scratch.path().join("store");
    for (options, of_directory, of_file) in [("", 0o700, 0o1600), ("?mode=0660", 0o2770, 0o1660), ("?mode=0644", 0o755, 0o1644)] {
        let store = open(&directory, OpenMode::Create, options).unwrap();
        store.retrieve(300).unwrap().lock().unwrap().unlock().unwrap();
        let file = lock_file(&store, 300);
        assert_eq!((mode_of(&directory), mode_of(&directory.join("table")), mode_of(&file)), (of_directory, of_file, of_file));
        assert!(file.ancestors().skip(1).take(3).all(|path| mode_of(path) == of_directory), "{}", file.display());
        store.destroy().unwrap();
    }
}

#[rstest]
#[case("")]
#[case("?mode=0660")]
#[case("?mode=0644")]
fn a_set_group_id_bit_is_inherited(scratch: TempDir, #[case] options: &str) {
    fs::set_permissions(scratch.path(), Permissions::from_mode(0o2770)).unwrap();
    let directory = scratch.path().join("store");
    let store = open(&directory, OpenMode::Create, options).unwrap();
    store.retrieve(300).unwrap().lock().unwrap().unlock().unwrap();
    let file = lock_file(&store, 300);
    assert!(file.ancestors().skip(1).take(4).all(|path| mode_of(path) & 0o2000 != 0), "{}", file.display());
}

#[rstest]
fn an_unfinished_directory_of_a_killed_process_is_completed(scratch: TempDir) {
    let directory = scratch.path().join("store");
    fs::create_dir(&directory).unwrap();
    fs::set_permissions(&directory, Permissions::from_mode(0o700)).unwrap();
    let store = open(&directory, OpenMode::Create, "?mode=0660").unwrap();
    assert_eq!(mode_of(&directory), 0o2770);
    let file = lock_file(&store, 0);
    fs::create_dir(file.ancestors().nth(3).unwrap()).unwrap();
    fs::set_permissions(file.ancestors().nth(3).unwrap(), Permissions::from_mode(0o700)).unwrap();
    store.retrieve(0).unwrap().lock().unwrap().unlock().unwrap();
    assert!(file.ancestors().skip(1).take(3).all(|path| mode_of(path) == 0o2770));
}

#[rstest]
fn files_that_root_creates_in_a_users_store_belong_to_the_user(scratch: TempDir) {
    if !nix::unistd::geteuid().is_root() {
        return; // only root may open the store of another user
    }
    const USER: u32 = 59_001;
    let directory = scratch.path().join("store");
    let store = open(&directory, OpenMode::Create, "?owner=59001").unwrap();
    store.retrieve(300).unwrap().lock().unwrap().unlock().unwrap();
    let file = lock_file(&store, 300);
    assert!(file.ancestors().take(5).all(|path| fs::metadata(path).unwrap().uid() == USER), "{}", file.display());
    assert_eq!((mode_of(&file), mode_of(file.parent().unwrap())), (0o1600, 0o700));
    let error = open(&directory, OpenMode::Open, "").unwrap_err();
    assert!(matches!(error.details(), ErrorDetails::Untrusted { reason, .. } if reason.contains("owner=59001")), "{error}");
    store.destroy().unwrap();
    assert!(!directory.exists());
}

/// A user of the store replaces a directory of lock files while the store is open.
#[rstest]
#[case("locks")]
#[case("locks/STORE")]
#[case("locks/STORE/07")]
fn a_symbolic_link_that_replaced_a_directory_is_refused_and_not_followed(scratch: TempDir, #[case] replaced: &str) {
    let (directory, elsewhere) = (scratch.path().join("store"), scratch.path().join("elsewhere"));
    let store = open(&directory, OpenMode::Create, "?mode=0666").unwrap();
    store.retrieve(7).unwrap().lock().unwrap().unlock().unwrap();
    let replaced = directory.join(replaced.replace("STORE", &store.id().to_string()));
    fs::rename(&replaced, &elsewhere).unwrap();
    symlink(&elsewhere, &replaced).unwrap();
    let count = || fs::read_dir(&elsewhere).unwrap().count();
    let before = count();
    let error = store.retrieve(263).unwrap().try_lock().unwrap_err();
    assert!(matches!(error.details(), ErrorDetails::Untrusted { reason, .. } if reason.contains("symbolic link")), "{error}");
    let _ = store.destroy();
    assert_eq!(count(), before);
    assert!(elsewhere.is_dir());
}

#[rstest]
fn an_absent_directory_is_an_absent_store(scratch: TempDir) {
    let directory = scratch.path().join("store");
    assert!(matches!(open(&directory, OpenMode::Open, "").unwrap_err().kind(), ErrorKind::Absent));
    assert!(!directory.exists());
    fs::create_dir(&directory).unwrap();
    assert!(matches!(open(&directory, OpenMode::Open, "").unwrap_err().kind(), ErrorKind::Absent));
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
}

#[rstest]
fn a_failed_creation_leaves_no_directory(scratch: TempDir) {
    let directory = scratch.path().join("store");
    open(&directory, OpenMode::Create, "?capacity=0").unwrap_err();
    assert!(!directory.exists());
}

#[rstest]
fn a_symbolic_link_to_a_directory_is_refused(scratch: TempDir) {
    let (real, link) = (scratch.path().join("real"), scratch.path().join("link"));
    create(&real);
    symlink(&real, &link).unwrap();
    assert!(matches!(open(&link, OpenMode::Open, "").unwrap_err().kind(), ErrorKind::Untrusted));
}

#[rstest]
fn a_file_in_place_of_the_directory_is_refused(scratch: TempDir) {
    let file = scratch.path().join("file");
    fs::write(&file, "kept").unwrap();
    for mode in [OpenMode::Open, OpenMode::Create, OpenMode::OpenOrCreate] {
        for options in ["", "?mode=0660"] {
            assert!(matches!(open(&file, mode, options).unwrap_err().kind(), ErrorKind::NotAStore));
        }
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "kept");
}

#[rstest]
fn a_directory_that_other_users_may_write_to_is_refused(scratch: TempDir) {
    let directory = scratch.path().join("store");
    create(&directory);
    fs::set_permissions(&directory, Permissions::from_mode(0o770)).unwrap();
    let error = open(&directory, OpenMode::Open, "").unwrap_err();
    assert!(matches!(error.details(), ErrorDetails::Untrusted { reason, .. } if reason.contains("0770")), "{error}");
    open(&directory, OpenMode::Open, "?mode=0660").unwrap();
}

#[rstest]
#[case(|file: &Path| symlink("/dev/null", file).unwrap())]
#[case(|file: &Path| fs::hard_link(file.ancestors().nth(4).unwrap().join("table"), file).unwrap())]
#[case(|file: &Path| fs::create_dir(file).unwrap())]
#[case(|file: &Path| nix::unistd::mkfifo(file, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap())]
#[case(|file: &Path| {
    fs::write(file, "").unwrap();
    fs::set_permissions(file, Permissions::from_mode(0o666)).unwrap();
})]
fn a_planted_lock_file_is_refused(scratch: TempDir, #[case] plant: fn(&Path)) {
    let store = create(&scratch.path().join("store"));
    let file = lock_file(&store, 7);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    plant(&file);
    let lock = store.retrieve(7).unwrap();
    lock.try_lock().unwrap_err();
    assert!(store.held().unwrap().is_empty(), "the refused lock is held");
}

#[rstest]
fn a_foreign_program_shares_the_lock(scratch: TempDir) {
    let store = create(&scratch.path().join("store"));
    let lock = store.retrieve(0).unwrap();
    lock.lock().unwrap().unlock().unwrap();
    let foreign = File::options().read(true).write(true).open(lock_file(&store, 0)).unwrap();
    let guard = lock.lock().unwrap();
    assert!(!lock_directly(&foreign), "a foreign program locked a file while a handle holds the lock");
    guard.unlock().unwrap();
    assert!(lock_directly(&foreign));
    assert!(lock.try_lock().unwrap().is_none(), "the lock was granted while a foreign program holds it");
    drop(foreign);
    assert!(lock.try_lock().unwrap().is_some());
}

#[rstest]
fn after_destroy_used_handles_exclude_each_other_and_unused_ones_are_refused(scratch: TempDir) {
    let directory = scratch.path().join("store");
    let store = create(&directory);
    let (used, other, unused) = (store.retrieve(1).unwrap(), store.retrieve(1).unwrap(), store.retrieve(2).unwrap());
    other.lock().unwrap().unlock().unwrap();
    let guard = used.lock().unwrap();
    store.destroy().unwrap();
    assert!(!directory.exists(), "the directory of the destroyed store still exists");
    // A new store with the same path has separate locks.
    let new = create(&directory);
    new.retrieve(1).unwrap().lock().unwrap().unlock().unwrap();
    new.retrieve(2).unwrap().lock().unwrap().unlock().unwrap();
    assert!(matches!(other.lock().unwrap_err().kind(), ErrorKind::AlreadyHeld));
    assert!(matches!(unused.try_lock().unwrap_err().kind(), ErrorKind::Destroyed));
    guard.unlock().unwrap();
    other.lock().unwrap().unlock().unwrap();
}

#[rstest]
fn destroy_leaves_other_files_in_the_directory(scratch: TempDir) {
    fs::write(scratch.path().join("notes"), "kept").unwrap();
    let store = create(scratch.path());
    store.allocate("").unwrap().lock().unwrap().unlock().unwrap();
    store.destroy().unwrap();
    let left: Vec<_> = fs::read_dir(scratch.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["notes"]);
    fs::create_dir(scratch.path().join("locks")).unwrap();
    fs::write(scratch.path().join("locks/notes"), "kept").unwrap();
    create(scratch.path()).destroy().unwrap();
    assert!(scratch.path().join("locks/notes").exists());
}

#[rstest]
fn details_name_the_file_system(scratch: TempDir) {
    let store = create(&scratch.path().join("store"));
    assert!(store.details().iter().any(|(title, value)| *title == "file system" && !value.is_empty()));
    assert!(store.retrieve(LockId::new(5)).is_ok());
}
