//! Docker: the engine (`engine`), containers (`container:NAME`) and images (`image:NAME`).

use anyhow::Result;
use serde_json::Value;

use crate::probe::{Root, docker};
use crate::selftest::run::{Found, Values};
use crate::selftest::suite::Test;

pub(super) fn look(test: &Test, root: &Root) -> Result<Values> {
    match test.name.split_once(':') {
        None if test.name == "engine" => Ok(engine(root)),
        Some(("container", name)) => container(name, root),
        Some(("image", name)) => Ok(Values::from([(
            "exists",
            docker::has_image(root, name).map(Found::from),
        )])),
        _ => anyhow::bail!(
            "{:?} is neither engine, container:NAME nor image:NAME",
            test.name
        ),
    }
}

fn engine(root: &Root) -> Values {
    let Ok(info) = docker::info(root) else {
        return Values::from([("reachable", Ok(false.into()))]);
    };
    let warnings = info.warnings.unwrap_or_default();
    Values::from([
        ("reachable", Ok(true.into())),
        ("server-version", Ok(info.server_version.into())),
        ("storage-driver", Ok(info.driver.into())),
        ("cgroup-version", Ok(info.cgroup_version.into())),
        ("cgroup-driver", Ok(info.cgroup_driver.into())),
        ("swarm", Ok(info.swarm.local_node_state.into())),
        (
            "warnings",
            Ok(warnings.into_iter().map(Value::from).collect()),
        ),
    ])
}

fn container(name: &str, root: &Root) -> Result<Values> {
    let containers = docker::containers(root)?;
    let Some(container) = containers.iter().find(|container| container.name() == name) else {
        return Ok(Values::from([
            ("exists", Ok(false.into())),
            ("running", Ok(false.into())),
            ("restarting", Ok(false.into())),
            ("healthy", Ok(false.into())),
        ]));
    };
    Ok(Values::from([
        ("exists", Ok(true.into())),
        ("running", Ok((container.state == "running").into())),
        ("restarting", Ok((container.state == "restarting").into())),
        // A container without a health check of its own is as healthy as it runs.
        (
            "healthy",
            Ok((container.state == "running" && !container.is_unhealthy()).into()),
        ),
    ]))
}
