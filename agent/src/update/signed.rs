//! Releases for tests: signed, published and verified by the real code, since nothing else makes a [`Verified`].

use hypriot_keys::Verified;
use hypriot_keys::client::Client;
use hypriot_keys::repo::{Options, Repository};
use hypriot_keys::secret::SecretKey;
use hypriot_keys::source::FileSource;
use hypriot_keys::time::Timestamp;
use hypriot_updater::index::Index;

const NOW: Timestamp = Timestamp(1_800_000_000);

/// The index as a board gets it.
pub(crate) fn verified(index: &Index) -> Verified<Index> {
    let dir = tempfile::tempdir().unwrap();
    let key = SecretKey::from_seed(&[7; 32]);
    let site = dir.path().join("site");
    let mut repository = Repository::init(
        &dir.path().join("repo"),
        &Options::single(key.public()),
        NOW,
    )
    .unwrap();
    repository
        .add_target("r.json", &index.encode().unwrap(), serde_json::json!({}))
        .unwrap();
    repository.publish(&site, &[&key]).unwrap();
    let baked = repository.first_root().unwrap();
    let mut client = Client::open(&dir.path().join("client"), &baked, Timestamp(0)).unwrap();
    let source = FileSource::new(site);
    client.refresh(&source, NOW).unwrap();
    client.download(&source, "r.json").unwrap().parse().unwrap()
}
