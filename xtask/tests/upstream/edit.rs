//! Adding, pinning and removing a component.

use wiremock::MockServer;

use crate::support::{CONVEX_STACK, Scratch, release, serve_tool};

#[tokio::test]
async fn a_component_is_added_pinned_and_removed_without_other_changes() {
    let (scratch, server) = (Scratch::new(CONVEX_STACK), MockServer::start().await);
    let stack = || std::fs::read_to_string(scratch.root().join("stack.toml")).unwrap();
    let before = stack();
    let add = ["add", "tool", "--from", "github:a/tool", "--file", "tool-{arch}.zip", "--contains", "tool"];
    let arches = ["--arch", "x86_64=x64", "--arch", "aarch64=arm64"];
    scratch.run(&server, &[&add[..], &arches].concat()).await.printed(&["pin it: cargo xtask bump tool"]);
    let block =
        "[components.tool]\ntitle = \"tool\"\nscheme = \"semver\"\nsource = { repo = \"a/tool\", type = \"github\" }\n";
    assert!(stack().starts_with(&before) && stack().contains(block), "{}", stack());
    let files = [("tool-x64.zip", "x"), ("tool-arm64.zip", "y")];
    serve_tool(&server, vec![release("v1.0.0", "2026-09-01", false, &files)]).await;
    scratch.run(&server, &["bump", "tool"]).await.succeeded();
    scratch.run(&server, &add).await.failed_with(&["stack.toml already has a component `tool`", "nothing was changed"]);
    scratch.run(&server, &["remove", "tool"]).await.succeeded();
    assert_eq!(stack().trim_end(), before.trim_end());
    assert_eq!(scratch.lock().unwrap().matches("[components").count(), 1, "{:?}", scratch.lock());

    scratch.run(&server, &["remove", "convex"]).await.failed_with(&[
        "cannot remove `convex`, which is in use; nothing was changed",
        "`convex-dashboard` names the component `convex`",
    ]);
    scratch.run(&server, &["remove", "convx"]).await.failed_with(&["did you mean `convex`?"]);
    for (arguments, expected) in [
        (&["add", "Tool", "--from", "npm:tool"][..], "component name `Tool`"),
        (&["add", "tool", "--from", "github:a/tool"], "needs `file`"),
        (&["add", "tool", "--from", "npm:tool", "--scheme", "roman"], "stack.toml does not parse"),
    ] {
        scratch.run(&server, arguments).await.failed_with(&[expected, "nothing was changed"]);
    }
    let ran = scratch.run(&server, &["add", "tool", "--from", "ftp:x"]).await;
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert_eq!(stack().trim_end(), before.trim_end());
}
