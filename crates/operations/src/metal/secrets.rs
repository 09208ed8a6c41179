//! Which values of a node are secret: by their names, or by what they hold.

use serde_json::Value;

/// Parts of names whose values are secret.
const SECRET_WORDS: &[&str] = &[
    "password",
    "passphrase",
    "secret",
    "token",
    "private_key",
    "priv_key",
    "auth_key",
    "community",
    "configdrive",
];

/// Whether a value is kept sealed.
pub fn is_secret(key: &str, value: &Value) -> bool {
    let key = key.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| key.contains(word))
        || match value {
            Value::Object(object) => object.iter().any(|(key, value)| is_secret(key, value)),
            Value::Array(list) => list.iter().any(|value| is_secret("", value)),
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use super::is_secret;
    use serde_json::json;

    #[test]
    fn a_value_is_secret_by_its_name_or_by_what_it_holds() {
        assert!(is_secret("redfish_password", &json!("calvin")));
        assert!(is_secret(
            "iscsi",
            &json!({"auth": [{"Password": "calvin"}]})
        ));
        assert!(is_secret("snmp_community", &json!("public")));
        assert!(!is_secret("redfish_address", &json!("https://10.0.0.1")));
    }
}
