//! Inventories as owners have them.

use super::*;

const INI: &str = "\
# the rack
lone.local

[boards]
node[01:03].local ansible_user=pirate hypriot_spread='shelf a'
node9 ansible_host=127.0.0.1 ansible_port=2222 # the one in the hall

[managers]
node01.local

[managers:vars]
hypriot_manager=true

[cluster:children]
boards
managers

[cluster:vars]
ansible_user = root
hypriot_port=18083
";

const YAML: &str = "\
---
all:
  vars:
    ansible_user: root
  hosts:
    lone.local:
  children:
    cluster:
      vars: {hypriot_port: 18083}
      children:
        boards:
          hosts:
            node[01:03].local: {ansible_user: pirate, hypriot_spread: shelf_a}
            node9: {ansible_host: 127.0.0.1, ansible_port: 2222}
        managers:
          hosts: {node01.local: null}
          vars: {hypriot_manager: true}
";

const JSON: &str = r#"{
  "_meta": {"hostvars": {
    "node01.local": {"ansible_user": "pirate", "hypriot_spread": "shelf_a", "hypriot_manager": true, "hypriot_port": 18083},
    "node02.local": {"ansible_user": "pirate", "hypriot_spread": "shelf_a", "hypriot_port": 18083},
    "node03.local": {"ansible_user": "pirate", "hypriot_spread": "shelf_a", "hypriot_port": 18083},
    "node9": {"ansible_host": "127.0.0.1", "ansible_port": 2222, "ansible_user": "root", "hypriot_port": 18083},
    "lone.local": {}}},
  "all": {"children": ["ungrouped", "cluster"]},
  "ungrouped": {"hosts": ["lone.local"]},
  "cluster": {"children": ["boards", "managers"]},
  "boards": {"hosts": ["node01.local", "node02.local", "node03.local", "node9"]},
  "managers": {"hosts": ["node01.local"]}
}"#;

#[test]
fn the_three_forms_say_the_same() {
    for (form, text) in [("ini", INI), ("yaml", YAML), ("json", JSON)] {
        let inventory = parse(text).unwrap_or_else(|e| panic!("{form}: {e:#}"));
        let cluster = inventory.select(Some("cluster")).expect(form);
        let shown: Vec<String> = cluster.iter().map(ToString::to_string).collect();
        let expected = [
            "node01.local:18083",
            "node02.local:18083",
            "node03.local:18083",
            "node9:18083",
        ];
        assert_eq!(shown, expected, "{form}");
        let first = &cluster[0];
        assert_eq!(
            (
                first.user.as_deref(),
                first.spread.as_deref(),
                first.manager
            ),
            (Some("pirate"), Some("shelf_a"), true),
            "{form}: the host's own variable outweighs the group's"
        );
        let last = &cluster[3];
        assert_eq!(
            (
                last.address(),
                last.ssh_port,
                last.user.as_deref(),
                last.manager
            ),
            ("127.0.0.1", Some(2222), Some("root"), false),
            "{form}"
        );
        assert_eq!(inventory.select(None).expect(form).len(), 5, "{form}");
        assert_eq!(
            inventory.select(Some("managers")).expect(form).len(),
            1,
            "{form}"
        );
    }
}

#[test]
fn an_empty_or_unknown_group_is_an_error() {
    let inventory = parse("[boards]\nn1\n[spare]\n").expect("an inventory");
    for (group, why) in [("spare", "is empty"), ("bords", "there are: boards, spare")] {
        let error = format!("{:#}", inventory.select(Some(group)).expect_err(group));
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn ranges_are_those_of_ansible() {
    for (pattern, hosts) in [
        ("n[1:3]", vec!["n1", "n2", "n3"]),
        (
            "n[08:10].local",
            vec!["n08.local", "n09.local", "n10.local"],
        ),
        ("n[1-2]", vec!["n1", "n2"]),
        ("r[a:b]n[1:2]", vec!["ran1", "rbn1", "ran2", "rbn2"]),
        ("n[0:4:2]", vec!["n0", "n2", "n4"]),
        ("[::1]", vec!["[::1]"]),
        ("plain", vec!["plain"]),
    ] {
        assert_eq!(range::expand(pattern).expect(pattern), hosts, "{pattern}");
    }
    for wrong in [
        "n[3:1]",
        "n[1:]",
        "n[:3]",
        "n[1:99999999]",
        "n[1:3:0]",
        "n[x:10]",
    ] {
        assert!(range::expand(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn hostile_and_broken_inventories_are_errors_with_their_place() {
    for (text, why) in [
        ("[a:b]\nx", "line 1"),
        ("[a]\nx y", "line 2"),
        ("[a]\nx 'y=1", "quote"),
        ("[a]\nx ansible_user=-oProxyCommand=sh", "no name of a user"),
        ("[a]\nx ansible_host={{ip}}", "template"),
        ("[a:children]\nb\n[b:children]\na\n", "contains itself"),
        ("{\"a\": ", "JSON"),
        ("---\n- a", "map"),
        ("all:\n  hots: {}\n", "hots"),
    ] {
        let error = match parse(text) {
            Ok(inventory) => {
                let group = inventory.groups.keys().find(|g| *g != "ungrouped").cloned();
                inventory.select(group.as_deref()).err()
            }
            Err(error) => Some(error),
        };
        let error = format!("{:#}", error.unwrap_or_else(|| panic!("{text:?} is taken")));
        assert!(error.contains(why), "{text:?}: {error}");
    }
}
