"""Who asks, and what that one may do: callers with scopes, the organisation's issuer, and sessions of people.

`caller` says what is known of somebody; `issuer` finds the keys of an OpenID Connect issuer and verifies what it
signed; `identification` tells who stands behind a request to the interface; `sign_on` takes people through the Authorization
Code flow. Whoever is not known is nobody: there is no anonymous user, no default password, and no first account.

Spec: hostile 1.19 (ADM); experience section 4; RFC 9068, RFC 8705, OpenID Connect Core 1.0.
"""
