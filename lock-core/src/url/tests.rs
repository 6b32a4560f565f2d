use super::*;
use crate::{ErrorDetails, ErrorKind};
use rstest::rstest;

const NOT_UTF8: &[u8] = b"/srv/a%41 b?c\xff\n/store";

fn parse(text: &str) -> StoreUrl {
    text.parse().unwrap()
}

#[rstest]
#[case("shm:name", "shm", "name")]
#[case("shm:/a/b?capacity=1", "shm", "/a/b")]
#[case("shm://a//b/", "shm", "//a//b/")]
#[case("posix-sem:x%3Fy", "posix-sem", "x?y")]
#[case("file:", "file", "")]
#[case("file:.hidden", "file", ".hidden")]
fn parse_splits_scheme_and_location(#[case] text: &str, #[case] scheme: &str, #[case] location: &str) {
    let url = parse(text);
    assert_eq!((url.scheme(), url.location(), url.as_str()), (scheme, Path::new(location), text));
}

#[rstest]
#[case("name")]
#[case(":name")]
#[case("SHM:name")]
#[case("shm:x?capacity")]
#[case("shm:x?=1")]
#[case("shm:x?a=1&a=2")]
#[case("shm:x%0")]
#[case("shm:x%00")]
#[case("shm:x%+1")]
#[case("shm:x?a=%ff")]
#[case("shm:x\0")]
#[case("shm:x?")]
fn parse_refuses_bad_urls(#[case] text: &str) {
    let error = text.parse::<StoreUrl>().unwrap_err();
    assert!(matches!(error.details(), ErrorDetails::BadUrl { url, .. } if url == text), "{error}");
}

#[test]
fn a_location_may_have_any_bytes_except_nul() {
    let url = parse("shm:/x%ff?capacity=1");
    assert_eq!(url.location().as_os_str().as_bytes(), b"/x\xff");
    assert_eq!(url.path_in(|| unreachable!()).unwrap().as_os_str().as_bytes(), b"/x\xff");
}

#[test]
fn the_builder_encodes_a_path_so_that_parsing_restores_it() {
    let path = Path::new(OsStr::from_bytes(NOT_UTF8));
    let url = StoreUrl::builder("shm").path(path).option("capacity", 4096).option("note", "a&b=c%").build().unwrap();
    assert_eq!(url.location(), path);
    assert_eq!(parse(url.as_str()), url);
    assert_eq!(url.as_str(), "shm:/srv/a%2541%20b%3Fc%FF%0A/store?capacity=4096&note=a%26b%3Dc%25");
    assert_eq!(url.options().take::<u32>("capacity").unwrap(), Some(4096));
    assert_eq!(url.options().take::<String>("note").unwrap().as_deref(), Some("a&b=c%"));
}

#[test]
fn a_path_of_the_builder_without_a_slash_is_relative_and_no_name() {
    let here = std::env::current_dir().unwrap();
    let of_path = |path: &str| StoreUrl::builder("file").path(path).build().unwrap();
    assert_eq!(of_path("store").location(), here.join("store"));
    assert_eq!(of_path(".hidden").location(), here.join(".hidden"));
    assert_eq!(StoreUrl::builder("file").name("100% done").build().unwrap(), parse("file:100%25%20done"));
}

#[test]
fn an_option_of_the_builder_replaces_an_earlier_one() {
    let url = StoreUrl::builder("shm").name("x").option("mode", "0600").option("mode", "0660").build().unwrap();
    assert_eq!(url.as_str(), "shm:x?mode=0660");
}

#[rstest]
#[case::scheme(StoreUrl::builder("Shm").name("x"))]
#[case::colon_in_scheme(StoreUrl::builder("shm:x").name("x"))]
#[case::name_with_slash(StoreUrl::builder("shm").name("a/b"))]
#[case::name_of_a_directory(StoreUrl::builder("shm").name(".."))]
#[case::empty_path(StoreUrl::builder("shm").path(""))]
#[case::nul_in_path(StoreUrl::builder("shm").path("/a\0b"))]
#[case::key(StoreUrl::builder("shm").name("x").option("", 1))]
#[case::nul_in_option(StoreUrl::builder("shm").name("x").option("a", "\0"))]
fn the_builder_refuses_what_is_not_a_url(#[case] builder: StoreUrlBuilder) {
    let error = builder.build().unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::BadUrl), "{error}");
}

#[test]
fn with_option_refuses_an_option_that_the_url_contains() {
    let url = parse("shm:x?mode=0660").with_option("capacity", 8).unwrap();
    assert_eq!(url.as_str(), "shm:x?mode=0660&capacity=8");
    let error = url.with_option("mode", "0600").unwrap_err().to_string();
    assert!(error.contains("\"mode\" occurs twice"), "{error}");
}

#[rstest]
#[case("file:./dir", "dir")]
#[case("file:./dir/", "dir/")]
#[case("file:dir/sub", "dir/sub")]
#[case("shm:.//x%20y?mode=0660", "x y")]
#[case("shm:./a/../b", "a/../b")]
#[case("file:.", "")]
fn a_relative_path_is_resolved_against_the_current_directory(#[case] text: &str, #[case] relative: &str) {
    let here = std::env::current_dir().unwrap();
    let url = parse(text);
    let expected = if relative.is_empty() { here } else { here.join(relative) };
    assert_eq!(url.location().as_os_str(), expected.as_os_str());
    assert_eq!(parse(url.as_str()), url);
    assert_eq!(url.as_str().split_once('?').map(|(_, query)| query), text.split_once('?').map(|(_, query)| query));
}

#[test]
fn leading_parents_of_a_relative_path_are_removed_from_the_current_directory() {
    let here = std::env::current_dir().unwrap();
    let parent = here.parent().unwrap();
    assert_eq!(parse("shm:../x/y").location(), parent.join("x/y"));
    assert_eq!(parse("shm:.././x").location(), parent.join("x"));
    assert_eq!(parse("file:..").location(), parent);
    let beyond = format!("file:{}x", "../".repeat(here.components().count() + 2));
    assert_eq!(parse(&beyond).location(), Path::new("/x"));
}

#[test]
fn path_in_accepts_names_and_absolute_paths() {
    let path = |text: &str| parse(text).path_in(|| Ok("/dev/shm".into()));
    assert_eq!(path("file:locks").unwrap(), Path::new("/dev/shm/locks"));
    assert_eq!(path("file:/run/locks").unwrap(), Path::new("/run/locks"));
    for bad in ["file:", "file:.hidden", "file:..."] {
        assert!(path(bad).unwrap_err().to_string().contains("write file:NAME"), "{bad}");
    }
}

#[test]
fn file_in_gives_a_name_another_file_in_each_scheme() {
    let file = |text: &str| parse(text).file_in(|| Ok("/dev/shm".into())).unwrap();
    assert_eq!(file("shm:locks"), Path::new("/dev/shm/locks.shm"));
    assert_eq!(file("shm:locks.sem"), Path::new("/dev/shm/locks.sem.shm"));
    assert_eq!(file("posix-sem:locks"), Path::new("/dev/shm/locks.posix-sem"));
    assert_eq!(file("shm:/run/locks"), Path::new("/run/locks"));
}

#[test]
fn the_length_of_a_long_name_and_the_limit_are_reported() {
    let url = parse(&format!("shm:{}", "x".repeat(252)));
    assert!(url.path_in(|| Ok("/run/lock".into())).is_ok());
    let error = url.file_in(|| Ok("/dev/shm".into())).unwrap_err().to_string();
    assert!(error.contains("252 bytes") && error.contains("251"), "{error}");
}

#[rstest]
#[case("shm:/run/x/", "write shm:/run/x")]
#[case("sem:/run/x%3F//", "write sem:/run/x%3F")]
#[case("shm:/", "write shm:/path")]
fn file_in_refuses_a_trailing_slash(#[case] url: &str, #[case] remedy: &str) {
    let error = parse(url).file_in(|| Ok("/dev/shm".into())).unwrap_err().to_string();
    assert!(error.ends_with(remedy), "{error}");
}

#[test]
fn urls_are_accepted_in_any_form() {
    fn convert(url: impl TryInto<StoreUrl, Error: Into<Error>>) -> Result<StoreUrl> {
        url.try_into().map_err(Into::into)
    }
    let url = parse("shm:x");
    let text = "shm:x".to_owned();
    for converted in [convert("shm:x"), convert(&text), convert(text), convert(&url), convert(url.clone())] {
        assert_eq!(converted.unwrap(), url);
    }
    assert_eq!(convert(StoreUrl::builder("shm").name("x")).unwrap(), url);
    assert!(matches!(convert("x").unwrap_err().kind(), ErrorKind::BadUrl));
}

#[test]
fn a_password_is_not_shown() {
    let shown = |text: &str| text.parse::<StoreUrl>().unwrap().shown().into_owned();
    assert_eq!(shown("postgres://web:se%3Acret@db/shop"), "postgres://web:***@db/shop");
    assert_eq!(shown("etcd://web:secret@a:2379,b:2379/x?ttl=2s"), "etcd://web:***@a:2379,b:2379/x?ttl=2s");
    for url in ["etcd://a:2379/x@y", "shm:/a:b@c", "postgres://web@db:5432/shop"] {
        assert_eq!(shown(url), url);
    }
}
