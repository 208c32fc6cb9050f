//! Four boards from one image, and what hypriot-fleet does with them over ssh: `tests/cluster/steps.toml`.

use std::path::Path;

use anyhow::Result;
use hypriot_tests::cluster::Cluster;
use hypriot_tests::cluster::script::Script;
use hypriot_tests::factory::Factory;
use hypriot_tests::narrate::Narrator;
use hypriot_tests::scratch;

/// The releases are made, the cards flashed, the steps played.
pub(super) fn play(factory: &Factory) -> Result<()> {
    let steps = Path::new(env!("CARGO_MANIFEST_DIR")).join("cluster/steps.toml");
    let script = Script::parse(&std::fs::read_to_string(steps)?)?;
    factory.release("v1")?;
    for release in script.published() {
        factory.release(release)?;
    }
    let dir = tempfile::Builder::new()
        .prefix("cluster-")
        .tempdir_in(&factory.dir)?;
    let mut narrator = Narrator::new(script.step.len());
    let mut cluster = Cluster::flash(factory, &script, dir.path())?;
    let played = cluster.play(&script, &mut narrator);
    drop(cluster);
    narrator.summary();
    scratch::kept(dir, played)
}
