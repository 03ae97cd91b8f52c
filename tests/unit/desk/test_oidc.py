"""What a sign-in service says is believed only when it has signed it, for this desk, for this attempt, now."""

import base64
import json
from datetime import UTC, datetime

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from jbackupd.desk.oidc import Issuer, id_claims, vouched
from jbackupd.model.errors import RefusedError

NOW = datetime(2026, 11, 24, 1, 0, tzinfo=UTC)
AT = int(NOW.timestamp())
ISSUER = Issuer(
    "https://login.example", "desk", "secret", "https://desk.example", "職員認証", "preferred_username", "groups",
    {"bcp": "reception", "chief": "supervisor"},
)
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
SHORT = rsa.generate_private_key(public_exponent=65537, key_size=1024)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
CLAIMS = {
    "iss": "https://login.example", "sub": "1", "aud": "desk", "exp": AT + 300, "iat": AT, "nonce": "n",
    "preferred_username": "mori", "groups": ["bcp"], "name": "森 薫",
}


def jwk(private, kid="a", **more):
    kind = {"RSA": jwt.algorithms.RSAAlgorithm, "EC": jwt.algorithms.ECAlgorithm, "OKP": jwt.algorithms.OKPAlgorithm}
    name = "RSA" if isinstance(private, rsa.RSAPrivateKey) else "EC" if private is EC else "OKP"
    return {**json.loads(kind[name].to_jwk(private.public_key())), "kid": kid, **more}


def signed(claims=CLAIMS, key=RSA, algorithm="RS256", **headers):
    return jwt.encode(claims, key, algorithm, headers={"kid": "a", **headers})


def believed(token, keys=None, nonce="n"):
    return id_claims(token, {"keys": [jwk(RSA)] if keys is None else keys}, ISSUER, nonce, NOW)


@pytest.mark.parametrize(("key", "algorithm"), [(RSA, "RS256"), (EC, "ES256"), (ED, "EdDSA")])
def test_what_the_service_signed_for_this_attempt_is_believed(key, algorithm):
    assert believed(signed(key=key, algorithm=algorithm), [jwk(key)])["preferred_username"] == "mori"


@pytest.mark.parametrize("change", [
    {"iss": "https://other.example"}, {"aud": "another"}, {"aud": ["desk", "another"]}, {"azp": "another"},
    {"nonce": "m"}, {"nonce": None}, {"exp": AT - 61}, {"exp": float("nan")}, {"exp": "soon"}, {"iat": AT + 61},
    {"iat": AT - 601}, {"iat": float("nan")}, {"nbf": AT + 61}, {"exp": 10**400}, {"iat": None},
])
def test_a_token_of_another_time_desk_or_attempt_is_refused(change):
    claims = {name: value for name, value in {**CLAIMS, **change}.items() if value is not None}
    with pytest.raises(RefusedError):
        believed(signed(claims))


def test_a_signature_that_proves_nothing_is_refused():
    public = RSA.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    head = base64.urlsafe_b64encode(json.dumps({"alg": "HS256", "kid": "a"}).encode()).rstrip(b"=")
    body = base64.urlsafe_b64encode(json.dumps(CLAIMS).encode()).rstrip(b"=")
    hashed = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    forged = b".".join((head, body, base64.urlsafe_b64encode(hashed.sign(head + b"." + body, public)).rstrip(b"=")))
    unsigned = jwt.encode(CLAIMS, None, "none", headers={"kid": "a"})
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    for token in (forged.decode(), unsigned, signed(key=other), signed(kid="b"), signed()[:-4] + "AAAA", ""):
        with pytest.raises(RefusedError):
            believed(token)
    for keys in ([], [jwk(RSA), jwk(other)], [jwk(RSA, use="enc")], [jwk(RSA, alg="PS256")], ["x"], [jwk(EC)]):
        with pytest.raises(RefusedError):
            believed(signed(), keys)
    with pytest.raises(RefusedError):
        believed(signed(key=SHORT), [jwk(SHORT)])


@given(st.text(max_size=60) | st.lists(st.binary(max_size=30), min_size=2, max_size=4).map(
    lambda parts: b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts).decode()
))
@settings(deadline=None, max_examples=150)
def test_no_text_brings_anything_but_a_refusal_out(token):
    with pytest.raises(RefusedError):
        believed(token)


def test_the_first_group_with_a_role_counts_and_nobody_gets_in_without_one():
    assert (vouched(CLAIMS, ISSUER).account, vouched(CLAIMS, ISSUER).role) == ("oidc:mori", "reception")
    assert vouched({**CLAIMS, "groups": "chief"}, ISSUER).role == "supervisor"
    for wrong in ({"groups": []}, {"groups": [1, None]}, {"groups": ["x"]}, {"preferred_username": ""},
                  {"preferred_username": 5}, {"preferred_username": "a\nb"}, {"preferred_username": "x" * 300}):
        with pytest.raises(RefusedError):
            vouched({**CLAIMS, **wrong}, ISSUER)
