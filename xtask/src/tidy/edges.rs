//! Which package of the workspace may use which: the design's table, held against `cargo metadata`.

use serde_json::Value;

use super::Finding;
use crate::context::Context;

/// A package, and what it may depend on within the workspace.
struct Edges {
    package: &'static str,
    may_use: &'static [&'static str],
    /// For its tests only.
    tests_may_use: &'static [&'static str],
    published: bool,
}

const ANY: &[&str] = &["*"];

/// Complete: a package that is not here may not exist, an edge that is not here may not either.
/// `sim` knows no engine: the campaigns, which drive one, live in `xtask`.
const TABLE: &[Edges] = &[
    Edges { package: "treering-segment", may_use: &[], tests_may_use: &[], published: true },
    Edges { package: "treering-ring", may_use: &[], tests_may_use: &[], published: true },
    Edges {
        package: "treering-journal",
        may_use: &["treering-segment", "treering-ring"],
        tests_may_use: &["treering-sim"],
        published: true,
    },
    Edges { package: "treering-blobframe", may_use: &[], tests_may_use: &[], published: true },
    Edges {
        package: "treering-compactor",
        may_use: &["treering-segment"],
        tests_may_use: &["treering-sim"],
        published: true,
    },
    Edges {
        package: "treering",
        may_use: &[
            "treering-segment",
            "treering-ring",
            "treering-journal",
            "treering-blobframe",
            "treering-compactor",
        ],
        tests_may_use: &["treering-sim"],
        published: true,
    },
    Edges { package: "treering-cli", may_use: &["treering"], tests_may_use: &[], published: true },
    Edges { package: "treering-sim", may_use: &["treering-segment"], tests_may_use: &[], published: false },
    Edges { package: "xtask", may_use: ANY, tests_may_use: ANY, published: false },
    Edges { package: "treering-benches", may_use: ANY, tests_may_use: ANY, published: false },
    Edges { package: "treering-fuzz", may_use: ANY, tests_may_use: ANY, published: false },
];

/// Holds every package's manifest against the table.
pub(super) fn check(context: &Context) -> Vec<Finding> {
    let members: Vec<&str> = context.packages().filter_map(|p| p["name"].as_str()).collect();
    context.packages().flat_map(|package| check_package(package, &members)).collect()
}

fn check_package(package: &Value, members: &[&str]) -> Vec<Finding> {
    let name = package["name"].as_str().unwrap_or_default();
    let manifest = format!("package {name}");
    let Some(edges) = TABLE.iter().find(|edges| edges.package == name) else {
        return vec![Finding::new(&manifest, 0, "is not in the table of packages (xtask/src/tidy/edges.rs)")];
    };
    let mut findings = Vec::new();
    for dependency in package["dependencies"].as_array().into_iter().flatten() {
        let used = dependency["name"].as_str().unwrap_or_default();
        if !members.contains(&used) {
            continue;
        }
        let for_tests = dependency["kind"] == "dev";
        let allowed = allows(edges.may_use, used) || (for_tests && allows(edges.tests_may_use, used));
        if !allowed {
            let scope = if for_tests { " in its tests" } else { "" };
            findings.push(Finding::new(&manifest, 0, format!("may not use {used}{scope}")));
        }
    }
    // `"publish": []` is how cargo says "never".
    let published = package["publish"].as_array().is_none_or(|registries| !registries.is_empty());
    if published != edges.published {
        let must = if edges.published { "be publishable" } else { "say `publish = false`" };
        findings.push(Finding::new(&manifest, 0, format!("must {must}")));
    }
    for field in ["license", "rust_version", "description"] {
        if package[field].is_null() {
            findings.push(Finding::new(&manifest, 0, format!("says no {field}")));
        }
    }
    findings
}

fn allows(list: &[&str], name: &str) -> bool {
    list.iter().any(|allowed| *allowed == "*" || *allowed == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn findings(name: &str, dependency: &str, kind: Option<&str>) -> Vec<String> {
        let publish = if name == "treering-sim" { json!([]) } else { Value::Null };
        let package = json!({
            "name": name, "publish": publish, "license": "x", "rust_version": "1", "description": "d",
            "dependencies": [{ "name": dependency, "kind": kind }],
        });
        check_package(&package, &["treering-ring", "treering-segment", "treering-sim", "treering-journal"])
            .into_iter()
            .map(|finding| finding.what)
            .collect()
    }

    #[test]
    fn an_edge_outside_the_table_is_found() {
        assert_eq!(findings("treering-ring", "treering-segment", None), ["may not use treering-segment"]);
        assert_eq!(
            findings("treering-ring", "treering-segment", Some("dev")),
            ["may not use treering-segment in its tests"]
        );
        assert!(findings("treering-journal", "treering-segment", None).is_empty());
        assert!(findings("treering-ring", "parking_lot", None).is_empty());
    }

    #[test]
    fn an_edge_for_tests_is_no_edge_for_the_library() {
        assert!(findings("treering", "treering-sim", Some("dev")).is_empty());
        assert_eq!(findings("treering", "treering-sim", None), ["may not use treering-sim"]);
    }

    #[test]
    fn an_unknown_package_and_a_publishable_simulator_are_found() {
        assert!(findings("treering-extra", "bytes", None)[0].contains("not in the table"));
        let package = json!({
            "name": "treering-sim", "publish": null, "license": "x", "rust_version": "1", "description": "d",
            "dependencies": [],
        });
        assert_eq!(check_package(&package, &[])[0].what, "must say `publish = false`");
    }
}
