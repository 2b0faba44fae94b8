//! Client libraries that others wrote for the real Keycloak, each through its full sequence against the mock as a
//! process: they must not be able to tell. And a validator of what the control API says of itself. The scripts are in
//! `interop/`.

use crate::harness::{Script, node, python, run};

#[test]
fn openid_client_4() {
    run(&Script {
        args: &["openid-client-classic.mjs", "openid-client-4"],
        ..node("openid_client_4")
    });
}

#[test]
fn openid_client_5() {
    run(&Script {
        args: &["openid-client-classic.mjs", "openid-client-5"],
        ..node("openid_client_5")
    });
}

#[test]
fn openid_client_6() {
    run(&Script {
        args: &["openid-client-6.mjs"],
        ..node("openid_client_6")
    });
}

/// By default it speaks nothing but https.
#[test]
fn openid_client_6_over_https() {
    run(&Script {
        args: &["openid-client-6.mjs"],
        https: true,
        ..node("openid_client_6_over_https")
    });
}

#[test]
fn keycloak_js_in_a_browser() {
    run(&Script {
        args: &["keycloak-js.mjs"],
        needs: &["node_modules/keycloak-js", "/usr/bin/chromium"],
        ..node("keycloak_js_in_a_browser")
    });
}

#[test]
fn pages_of_other_origins_order_nothing() {
    run(&Script {
        args: &["foreign-page.mjs"],
        needs: &["node_modules/playwright-core", "/usr/bin/chromium"],
        ..node("pages_of_other_origins_order_nothing")
    });
}

#[test]
fn python_keycloak() {
    run(&Script {
        args: &["python_keycloak.py"],
        ..python("python_keycloak")
    });
}

#[test]
fn python_keycloak_over_https() {
    run(&Script {
        args: &["python_keycloak.py"],
        https: true,
        ..python("python_keycloak_over_https")
    });
}

#[test]
fn openapi_spec_validator() {
    run(&Script {
        args: &["openapi.py"],
        ..python("openapi_spec_validator")
    });
}
