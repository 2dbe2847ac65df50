"""Where a bucket is: every way its address is written, what is refused, and that no key is ever shown."""

from __future__ import annotations

from typing import Any

import pytest

from service.app import build
from service.bucket import JOB_KEYS, Bucket, bucket_of_job, bucket_of_settings
from settings import Settings, SettingsError
from validation.errors import InvalidInput

ID, SECRET = "AKIA-1D", "5EC2E7/+key"
KEYS = {"BUCKET_ACCESS_KEY_ID": ID, "BUCKET_SECRET_ACCESS_KEY": SECRET}
JOBS = {"accessId": ID, "accessSecret": SECRET, "bucketName": "voices", "endpointUrl": "https://s3.example.com"}
R2 = "0123456789abcdef0123456789abcdef.r2.cloudflarestorage.com"


def of_settings(**environ: str) -> Bucket:
    bucket = bucket_of_settings(Settings.from_env(KEYS | environ))
    assert bucket is not None
    return bucket


def of_job(allow_private: bool = False, **others: Any) -> Bucket:
    bucket = bucket_of_job(JOBS | others, allow_private=allow_private)
    assert bucket is not None
    return bucket


def refusal(s3_config: object) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        bucket_of_job(s3_config, allow_private=False)
    assert ID not in str(caught.value.to_reply())
    assert SECRET not in str(caught.value.to_reply())
    return caught.value


# --- addresses --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "name", "server", "region", "in_host"),
    [
        ("s3.eu-west-1.amazonaws.com", "voices", "s3.eu-west-1.amazonaws.com", "eu-west-1", False),
        ("voices.s3.eu-west-1.amazonaws.com/", "", "s3.eu-west-1.amazonaws.com", "eu-west-1", True),
        ("voices.s3.eu-west-1.amazonaws.com", "voices", "s3.eu-west-1.amazonaws.com", "eu-west-1", True),
        ("my.voices.s3.amazonaws.com", "", "s3.amazonaws.com", "us-east-1", True),
        ("voices.s3-us-west-2.amazonaws.com", "", "s3-us-west-2.amazonaws.com", "us-west-2", True),
        ("voices.s3.dualstack.eu-west-1.amazonaws.com", "", "s3.dualstack.eu-west-1.amazonaws.com", "eu-west-1", True),
        ("s3.us-west-004.backblazeb2.com/voices", "", "s3.us-west-004.backblazeb2.com", "us-west-004", False),
        ("voices.nyc3.digitaloceanspaces.com", "", "nyc3.digitaloceanspaces.com", "nyc3", True),
        (f"{R2}/voices", "", R2, "us-east-1", False),
        (f"voices.{R2}", "", R2, "us-east-1", True),
        ("s3.fr-par.scw.cloud", "voices", "s3.fr-par.scw.cloud", "fr-par", False),
        ("voices.oss-cn-beijing.aliyuncs.com", "voices", "oss-cn-beijing.aliyuncs.com", "us-east-1", True),
        ("abc.supabase.co/storage/v1/s3", "voices", "abc.supabase.co/storage/v1/s3", "us-east-1", False),
        ("abc.supabase.co/storage/v1/s3/voices", "voices", "abc.supabase.co/storage/v1/s3", "us-east-1", False),
        ("10.0.0.5:9000/voices/", "", "10.0.0.5:9000", "us-east-1", False),
        ("[::1]:9000/voices", "", "[::1]:9000", "us-east-1", False),
        ("MINIO.local:9000", "Voices_1", "minio.local:9000", "us-east-1", False),
    ],
)
def test_a_bucket_stands_in_the_address_or_beside_it(
    url: str, name: str, server: str, region: str, in_host: bool
) -> None:
    for scheme in ("https", "http"):
        found = of_settings(BUCKET_ENDPOINT_URL=f"{scheme}://{url}", BUCKET_NAME=name)
        assert found.endpoint_url == f"{scheme}://{server}"
        assert found.name == name or (not name and found.name in ("voices", "my.voices"))
        assert (found.region, found.in_host) == (region, in_host)


def test_a_region_that_is_named_counts() -> None:
    found = of_settings(BUCKET_ENDPOINT_URL="https://s3api-eu-ro-1.runpod.io/volume1", BUCKET_REGION="EU-RO-1")
    assert (found.region, found.name) == ("EU-RO-1", "volume1")


@pytest.mark.parametrize(("given", "kept"), [("", ""), ("clips", "clips"), ("/tts/clips_1/", "tts/clips_1")])
def test_a_prefix_loses_its_outer_slashes(given: str, kept: str) -> None:
    assert of_settings(BUCKET_ENDPOINT_URL="https://s3.example.com/v1", BUCKET_PREFIX=given).prefix == kept


# --- settings ---------------------------------------------------------------------------------------------


def test_nothing_set_is_no_bucket() -> None:
    assert bucket_of_settings(Settings()) is None
    assert bucket_of_settings(Settings(bucket_region="eu", bucket_prefix="clips")) is None


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        (KEYS, "BUCKET_ENDPOINT_URL: must be set too"),
        ({"BUCKET_NAME": "voices"}, "BUCKET_ENDPOINT_URL, BUCKET_ACCESS_KEY_ID, BUCKET_SECRET_ACCESS_KEY: must be set"),
        ({"BUCKET_ENDPOINT_URL": "https://a.b/c"}, "BUCKET_ACCESS_KEY_ID, BUCKET_SECRET_ACCESS_KEY: must be set too"),
        (KEYS | {"BUCKET_ENDPOINT_URL": "https://s3.example.com"}, "names no bucket: set BUCKET_NAME"),
        (KEYS | {"BUCKET_ENDPOINT_URL": "https://a.b/c/d"}, "names no bucket: set BUCKET_NAME"),
        (KEYS | {"BUCKET_ENDPOINT_URL": "https://a.b/c", "BUCKET_NAME": "no bucket"}, "name no valid bucket"),
        (KEYS | {"BUCKET_ENDPOINT_URL": "s3.example.com/voices"}, "must be a whole address"),
        (KEYS | {"BUCKET_ENDPOINT_URL": "s3://voices"}, "must be a whole address"),
        (KEYS | {"BUCKET_ENDPOINT_URL": "https://a.b:99999/c"}, "must be a whole address"),
        (KEYS | {"BUCKET_ENDPOINT_URL": f"https://{ID}:pass@a.b/c"}, "may hold no user name"),
        (KEYS | {"BUCKET_ENDPOINT_URL": f"https://a.b/c?key={SECRET}"}, "may hold no user name"),
        (KEYS | {"BUCKET_ENDPOINT_URL": "https://a.b/c", "BUCKET_PREFIX": "a//../b"}, "BUCKET_PREFIX='a//../b': must"),
        (
            {"BUCKET_ENDPOINT_URL": "https://a.b/c", "BUCKET_ACCESS_KEY_ID": ID, "BUCKET_SECRET_ACCESS_KEY": "a b"},
            "BUCKET_SECRET_ACCESS_KEY: must be printable ASCII",
        ),
    ],
)
def test_half_a_bucket_stops_the_start_and_says_what_is_missing(environ: dict[str, str], words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        build(Settings.from_env({"TTS_ENGINE": "espeak"} | environ))
    assert words in str(caught.value)
    assert SECRET not in str(caught.value)


def test_no_key_is_shown_by_what_holds_it() -> None:
    settings = Settings.from_env(KEYS | {"BUCKET_ENDPOINT_URL": "https://s3.example.com/voices"})
    for shown in (repr(settings), repr(bucket_of_settings(settings)), repr(of_job())):
        assert ID not in shown
        assert SECRET not in shown


# --- a job's own ------------------------------------------------------------------------------------------


def test_a_job_brings_its_own_bucket() -> None:
    assert of_job() == Bucket(
        "https://s3.example.com", "voices", "us-east-1", ID, SECRET, of_job=True, public_only=True
    )
    assert of_job(endpointUrl="https://voices.s3.eu-west-1.amazonaws.com").in_host
    assert not of_job(allow_private=True).public_only


@pytest.mark.parametrize("nothing", [None, {}])
def test_a_job_may_bring_none(nothing: object) -> None:
    assert bucket_of_job(nothing, allow_private=False) is None


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"accessSecret": None}, "s3Config.accessSecret is required"),
        ({"accessId": ""}, "s3Config.accessId is required"),
        ({"accessSecret": 5}, "s3Config.accessSecret must be a string"),
        ({"accessSecret": [SECRET]}, "s3Config.accessSecret must be a string"),
        ({"accessSecret": f"{SECRET}\nX: y"}, "s3Config.accessSecret must be printable ASCII"),
        ({"accessId": "x" * 2049}, "s3Config.accessId must be printable ASCII without blanks, of at most 2048"),
        ({"bucketName": "../other"}, "s3Config.bucketName is no name of a bucket"),
        ({"bucketName": "arn:aws:s3:eu:1:accesspoint/a"}, "s3Config.bucketName is no name of a bucket"),
        ({"endpointUrl": "ftp://s3.example.com"}, "s3Config.endpointUrl must be a whole address"),
        ({"endpointUrl": f"https://{ID}:pass@s3.example.com"}, "s3Config.endpointUrl may hold no user name"),
        ({SECRET: "x"}, f"s3Config has a key that is none of {', '.join(JOB_KEYS)}"),
    ],
)
def test_what_is_wrong_with_it_is_reported_and_nothing_of_it_repeated(changed: dict[str, Any], words: str) -> None:
    error = refusal(JOBS | changed)
    assert error.args[0].startswith(words)
    assert len(error.faults) == 1


def test_all_its_faults_are_reported_at_once() -> None:
    error = refusal({"accessId": 5, "bucketName": "a b"})
    assert [fault.field for fault in error.faults] == [f"s3Config.{key}" for key in JOB_KEYS]


@pytest.mark.parametrize("no_object", [SECRET, 5, True, [SECRET], [["accessSecret", SECRET]]])
def test_it_must_be_an_object(no_object: object) -> None:
    assert refusal(no_object).args[0] == f"s3Config must be an object of {', '.join(JOB_KEYS)}"


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "localhost", "10.0.0.1", "169.254.169.254", "2130706433", "0x7f000001", "127.1", "0"),
        *("[::1]", "[::ffff:127.0.0.1]", "[fd00:ec2::254]", "[2002:7f00:1::]", "LOCALHOST", "localhost."),
    ],
)
def test_a_private_address_is_refused_before_any_work(host: str) -> None:
    error = refusal(JOBS | {"endpointUrl": f"http://{host}:9000"})
    assert error.args[0] == "s3Config.endpointUrl leads to an address that is not public"
    assert of_job(allow_private=True, endpointUrl=f"http://{host}:9000").endpoint_url


def test_a_public_address_is_not() -> None:
    assert of_job(endpointUrl="https://8.8.8.8").public_only
