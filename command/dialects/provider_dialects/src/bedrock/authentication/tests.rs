use events::time::parse_rfc3339;
use http::HeaderValue;

use super::*;

const ACCESS_KEY: &str = "AKIDEXAMPLE:wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

/// A call with this key, as it is sent; `None` if it cannot be.
fn authenticated(url: &str, key: &str, region: Option<&str>, body: &'static str) -> Result<Request<Bytes>, KeyFault> {
    let mut request = Request::post(url).body(Bytes::from(body)).unwrap();
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // Proxies may add or change these.
    headers.insert("user-agent", HeaderValue::from_static("ledgerway/1"));
    headers.insert("traceparent", HeaderValue::from_static("00-1"));
    let invocation = Invocation { model: "m", streamed: false, api_version: None, region };
    let now = parse_rfc3339("2026-11-20T08:15:30Z").unwrap();
    authenticate(&mut request, &Secret::new(key), &invocation, now).map(|()| request)
}

/// The signatures are those that botocore 1.44.5 makes for the same requests.
#[test]
fn a_request_is_signed_as_aws_signs_it() {
    let (with_token, signed) = ("content-type;host;x-amz-date;x-amz-security-token", "content-type;host;x-amz-date");
    let token = "FwoGZXIvYXdzEXAMPLE//token==";
    for (url, token, region, given, body, headers, signature) in [
        (
            "https://bedrock-runtime.us-east-1.amazonaws.com/model/amazon.nova-lite-v1%3A0/converse",
            None,
            "us-east-1",
            None,
            r#"{"messages":[]}"#,
            signed,
            "fbefe2ea46e639dd810af15e891a5ec6b25a5910a0ebde547aee9e008dd5a2d2",
        ),
        (
            "https://bedrock-runtime.us-east-1.amazonaws.com/model/amazon.nova-lite-v1%3A0/converse",
            Some(token),
            "us-east-1",
            None,
            r#"{"messages":[]}"#,
            with_token,
            "5b17faeb124fb037d030b726e60cc07b484158e011c5c8a51f43867a6d09cd56",
        ),
        (
            "https://vpce-0a1b.bedrock-runtime.eu-west-1.vpce.amazonaws.com:8443/model/arn%3Aaws%3Abedrock%3Aeu-west-1%3A123456789012%3Aapplication-inference-profile%2Fa1b2/converse-stream",
            None,
            "eu-west-1",
            None,
            "",
            signed,
            "1e66703ce6aa9bc68ed14baf25bf57b3857f0399a2ec26810afefc54a4f52c33",
        ),
        (
            "https://proxy.example.com/aws/model/m%20%C3%A9/converse",
            None,
            "eu-central-1",
            Some("eu-central-1"),
            "{}",
            signed,
            "b90599ece6a712c973864364f9764e789f32f52b946853ef1c685d87fda3dd29",
        ),
    ] {
        let key = token.map_or(ACCESS_KEY.to_owned(), |token| [ACCESS_KEY, ":", token].concat());
        let request = authenticated(url, &key, given, body).expect("a signed request");
        let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
        let scope = format!("AKIDEXAMPLE/20261120/{region}/bedrock/aws4_request");
        let wanted = format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders={headers}, Signature={signature}");
        assert_eq!(header("authorization"), Some(&*wanted), "{url}");
        assert_eq!((header("x-amz-date"), header("x-amz-security-token")), (Some("20261120T081530Z"), token));
        let shown = format!("{request:?}");
        assert!(!shown.contains("Signature=") && !shown.contains("FwoGZX"), "{shown}");
    }
}

#[test]
fn a_bedrock_api_key_is_sent_as_it_is() {
    for key in ["ABSKQmVkcm9ja0FQSUtleS1leGFtcGxlOmFiYw==", "bedrock-api-key-YmVkcm9jay5hbWF6b25hd3MuY29t"] {
        // Its region is in the key.
        let request = authenticated("https://proxy.example.com/model/m/converse", key, None, "{}").expect("a request");
        assert_eq!(request.headers()["authorization"], ["Bearer ", key].concat());
        assert!(request.headers().get("x-amz-date").is_none() && !format!("{request:?}").contains(key));
    }
}

#[test]
fn what_is_no_key_is_not_sent() {
    const URL: &str = "https://bedrock-runtime.us-east-1.amazonaws.com/model/m/converse";
    let fault = |url, key| authenticated(url, key, None, "{}").err();
    assert_eq!(fault(URL, ACCESS_KEY), None);
    for key in [":secret", "id:", "id::token", "id:secret:", "id:secret:token:more", ":", "AKIAIOSFODNN7EXAMPLE"] {
        assert_eq!(fault(URL, key), Some(KeyFault::NotOfAws), "{key}");
    }
    for key in ["line\nbreak", "id:s:to\nken"] {
        assert_eq!(fault(URL, key), Some(KeyFault::NotAHeader), "{key}");
    }
    assert_eq!(fault("https://proxy.example.com/model/m/converse", ACCESS_KEY), Some(KeyFault::NoRegion));
}

#[test]
fn a_host_tells_its_region() {
    for (host, region) in [
        ("bedrock-runtime.us-east-1.amazonaws.com", Some("us-east-1")),
        ("bedrock-runtime-fips.us-gov-west-1.amazonaws.com", Some("us-gov-west-1")),
        ("bedrock-runtime.cn-north-1.amazonaws.com.cn", Some("cn-north-1")),
        ("bedrock-runtime.eu-west-1.api.aws", Some("eu-west-1")),
        ("vpce-0a1b-2c3d.bedrock-runtime.eu-west-1.vpce.amazonaws.com", Some("eu-west-1")),
        ("vpce-0a1b-2c3d-us-east-1a.bedrock-runtime-fips.us-east-1.vpce.amazonaws.com", Some("us-east-1")),
        ("bedrock-runtime.amazonaws.com", None),
        ("bedrock-runtime", None),
        ("bedrock.us-east-1.amazonaws.com", None),
        ("127.0.0.1", None),
    ] {
        assert_eq!(region_of(host), region, "{host}");
    }
}
