"""Makes the signing keys anew: moduli of 2048 bits that are products of 32 primes.

    python3 make.py

Keys of this kind are quick to sign with and easy to factor; README.md beside this says why that is good enough here.
Certificates stay as they are but for the key, its ids and the signature.
"""

import base64
import hashlib
import json
import secrets
from pathlib import Path

PRIMES, BITS, EXPONENT = 32, 64, 65537
# Above this, 32 of them have a product of exactly 2048 bits.
LEAST = int(2**64 * 2 ** (-1 / 32)) + 1
SHA256_INFO = bytes.fromhex("3031300d060960864801650304020105000420")
HERE = Path(__file__).parent


def is_prime(number):
    """Miller and Rabin's test, which is exact below 2**64 with these bases."""
    odd, twos = number - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37):
        if number % base == 0:
            return False
        power = pow(base, odd, number)
        if power in (1, number - 1):
            continue
        for _ in range(twos - 1):
            power = power * power % number
            if power == number - 1:
                break
        else:
            return False
    return True


def primes():
    found = set()
    while len(found) < PRIMES:
        number = LEAST + secrets.randbelow(2**BITS - LEAST)
        if is_prime(number) and (number - 1) % EXPONENT:
            found.add(number)
    return sorted(found)


def sign(message, factors):
    modulus, order = 1, 1
    for prime in factors:
        modulus, order = modulus * prime, order * (prime - 1)
    info = SHA256_INFO + hashlib.sha256(message).digest()
    padded = b"\x00\x01" + b"\xff" * (256 - 3 - len(info)) + b"\x00" + info
    return pow(int.from_bytes(padded), pow(EXPONENT, -1, order), modulus).to_bytes(256)


def replaced(der, old, new):
    assert old in der and len(old) == len(new)
    return der.replace(old, new)


def public_key(modulus):
    """RSAPublicKey (RFC 8017 A.1.1)."""
    return b"\x30\x82\x01\x0a\x02\x82\x01\x01\x00" + modulus + b"\x02\x03\x01\x00\x01"


def text(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def main():
    path = HERE / "jwks.json"
    jwks = json.loads(path.read_text())
    for nth, jwk in enumerate(jwks["keys"][:-1], start=1):
        factors = primes()
        modulus = 1
        for prime in factors:
            modulus *= prime
        old, new = base64.urlsafe_b64decode(jwk["n"] + "=="), modulus.to_bytes(256)
        key_id = [hashlib.sha1(public_key(modulus)).digest() for modulus in (old, new)]
        der = replaced(base64.b64decode(jwk["x5c"][0]), old, new)
        der = replaced(der, *key_id)
        # A certificate is a sequence of what is signed, the algorithm (15 bytes) and the signature (261).
        signed = der[4 : -15 - 261]
        der = der[:-256] + sign(signed, factors)
        spki = HERE / f"spki-{nth}.txt"
        info = replaced(base64.b64decode(spki.read_text()), old, new)
        jwk["n"], jwk["x5c"] = text(new), [base64.b64encode(der).decode()]
        jwk["kid"] = text(hashlib.sha256(info).digest())
        jwk["x5t"] = text(hashlib.sha1(der).digest())
        jwk["x5t#S256"] = text(hashlib.sha256(der).digest())
        spki.write_text(base64.b64encode(info).decode())
        (HERE / f"sig-{nth}.txt").write_text("".join(f"{prime:016x}\n" for prime in factors))
    path.write_text(json.dumps(jwks, indent=1) + "\n")


main()
