//! Stores that several users share: the right to open them, and the owner and group of their files.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use super::{cases, with_option};
use crate::fixture::{Fixture, GROUP, OTHER_USER, USER};
use crate::need;
use crate::process::{LockRef, Pending, Thread, grant};

cases! { "sharing";
    users_who_create_at_once_get_one_store [STORE PROCESSES USERS ROOT];
    what_root_makes_in_a_users_store_is_the_users [STORE PROCESSES USERS ROOT];
    members_of_a_group_share_a_store [STORE PROCESSES GROUPS ROOT];
    a_strangers_store_is_refused [STORE PROCESSES USERS GROUPS ROOT];
    a_user_sees_no_arguments_of_another [STORE PROCESSES USERS HOLDERS ROOT];
}

/// Number of stores that the processes race to create.
const STORES: usize = 200;

/// Ids that a process uses. Some of them share a directory in a backend that has one for several ids.
const IDS: [u32; 5] = [0, 1, 5, 64, 90];

/// Returns the locks of a store that a case uses.
fn locks(fixture: &Fixture) -> Vec<LockRef> {
    if need::NUMBERED.is_met(&fixture.suite) { IDS.map(LockRef::Number).to_vec() } else { vec![LockRef::Single] }
}

/// Acquires each lock and releases it again.
fn use_all(thread: &Thread, locks: &[LockRef], why: &str) {
    for lock in locks {
        thread.finds_free(*lock, why);
    }
}

/// Returns all files and directories below a directory.
pub(super) fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(files_below(&entry.path()));
        }
        found.push(entry.path());
    }
    found
}

fn users_who_create_at_once_get_one_store(fixture: &Fixture) {
    let users = [fixture.blank_peer_of(USER), fixture.blank_peer_of(OTHER_USER)];
    for _ in 0..STORES {
        let url = fixture.url_for_users();
        let (path, arena) = fixture.arena(1);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).expect("the process owns the file");
        let path = path.to_str().expect("the scratch path is text");
        let racing: Vec<_> = users.iter().map(|user| user.start("race_to_open", &[path, "open_or_create", &url])).collect();
        racing.iter().for_each(|racer| _ = racer.begun());
        arena.go();
        let outcomes: Vec<_> = racing.into_iter().map(Pending::outcome).collect();
        let ids: Vec<_> = outcomes
            .iter()
            .map(|outcome| match outcome {
                Ok(fields) => fields.get::<String>("id"),
                Err(refusal) => panic!("two users create a store at the same time, but one was refused: {refusal}"),
            })
            .collect();
        assert_eq!(ids[0], ids[1], "two users that create a store at the same time get different stores");
        // Both users create the files of the locks at the same time.
        let lock = locks(fixture)[0];
        let trying: Vec<_> = users.iter().map(|user| user.start("try_lock", &[&lock.to_string()])).collect();
        for (trying, user) in trying.into_iter().zip(&users) {
            match trying.outcome() {
                Ok(fields) if grant(&fields).is_some() => user.unlock(lock),
                Ok(_) => {}
                Err(refusal) => panic!("two users use a new store at the same time, but one was refused: {refusal}"),
            }
        }
    }
}

fn what_root_makes_in_a_users_store_is_the_users(fixture: &Fixture) {
    let (dir, url) = fixture.place_for_users();
    let (maker, root) = (fixture.blank_peer_of(USER), fixture.blank_peer());
    maker.must("open", &["create", &url]);
    root.must("open", &["open", &url]);
    let locks = locks(fixture);
    use_all(&root, &locks, "no process holds it");
    let uid: u32 = USER.parse().expect("a number");
    for file in files_below(&dir) {
        let owner = fs::symlink_metadata(&file).expect("the file exists").uid();
        assert_eq!(owner, uid, "root used a user's store, but {} does not belong to the user", file.display());
    }
    use_all(&maker, &locks, "root has used the store, and no process holds it");
    use_all(&fixture.peer_of_user_with(USER, &url), &locks, "root has used the store, and no process holds it");
}

fn members_of_a_group_share_a_store(fixture: &Fixture) {
    let option = (fixture.suite.option_for_group.as_ref().expect("the case needs a group"))(group());
    for folder_mode in [0o2770, 0o3777] {
        let dir = fixture.dir_for_users();
        chown(&dir, None, Some(group())).expect("root can set the group");
        fs::set_permissions(&dir, fs::Permissions::from_mode(folder_mode)).expect("root can set the mode");
        let url = with_option(&fixture.url_in(&dir), &option);
        fixture.will_make(&url);
        let members = [USER, OTHER_USER].map(|user| fixture.blank_member(user));
        let root = fixture.blank_peer();
        members[0].must("open", &["create", &url]);
        let locks = locks(fixture);
        let (some, others) = locks.split_at(locks.len() / 2);
        use_all(&members[0], some, "no process holds it");
        for user in [&members[1], &root] {
            user.must("open", &["open", &url]);
        }
        use_all(&root, others, "no process holds it");
        for user in [&members[1], &members[0], &root] {
            use_all(user, &locks, "a member of the group has used the store, and no process holds it");
        }
        for file in files_below(&dir) {
            let gid = fs::symlink_metadata(&file).expect("the file exists").gid();
            assert_eq!(gid, group(), "{} has another group than the store", file.display());
        }
    }
}

fn a_strangers_store_is_refused(fixture: &Fixture) {
    let group_option = (fixture.suite.option_for_group.as_ref().expect("the case needs a group"))(group());
    let dir = fixture.dir_for_users();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o1777)).expect("root can set the mode");
    let plain = fixture.url_in(&dir);
    // The stranger's store has another group than the one that the other users' URLs name.
    let own = (fixture.suite.option_for_group.as_ref().expect("the case needs a group"))(USER.parse().expect("a number"));
    let stranger = fixture.blank_peer_of(USER);
    stranger.must("open", &["create", &with_option(&plain, &own)]);
    for user in [fixture.blank_peer(), fixture.blank_member(OTHER_USER)] {
        for option in [Some(&group_option), None] {
            let url = option.map_or_else(|| plain.clone(), |option| with_option(&plain, option));
            for mode in ["open", "open_or_create"] {
                let refusal = user.ask("probe", &[mode, &url]).expect_err("a store that a stranger created must not open");
                let kinds = ["Untrusted", "System"];
                assert!(kinds.contains(&refusal.kind.as_str()), "the error has the wrong kind: {refusal}");
            }
        }
    }
    stranger.must("destroy", &[]);
}

fn a_user_sees_no_arguments_of_another(fixture: &Fixture) {
    let url = fixture.url_for_users();
    let owner = fixture.blank_peer();
    owner.must("open", &["create", &url]);
    let lock = locks(fixture)[0];
    owner.lock(lock);
    let other = fixture.peer_of_user_with(OTHER_USER, &url);
    let refusal = other.ask("lock_for", &[&lock.to_string(), "1"]).expect_err("the owner holds the lock");
    let command: String = refusal.fields.find("command").unwrap_or_default();
    // The name of the suite is an argument of each peer.
    assert!(!command.contains(fixture.suite.name()), "another user sees the arguments of the owner: {command:?}");
}

fn group() -> u32 {
    GROUP.parse().expect("a number")
}
