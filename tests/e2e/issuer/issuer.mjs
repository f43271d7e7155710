// A standard OpenID Connect issuer for the tests of signing in. Says its address in one line and ends with its input.
// Accounts are the keys of ACCOUNTS, without passwords: what is tested is the other side of the protocol.
import { createServer } from 'node:http';
import { generateKeyPairSync } from 'node:crypto';
import Provider from 'oidc-provider';

const given = JSON.parse(process.argv[2]);
const accounts = given.accounts;
const server = createServer();
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const issuer = `http://127.0.0.1:${server.address().port}`;
const signing = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' });

const provider = new Provider(issuer, {
  jwks: { keys: [{ ...signing, use: 'sig', alg: 'RS256', kid: 'one' }] },
  clients: [{
    client_id: given.client_id,
    client_secret: given.client_secret,
    redirect_uris: [given.redirect_uri],
    grant_types: ['authorization_code'],
    response_types: ['code'],
  }],
  pkce: { required: () => true },
  conformIdTokenClaims: false,
  acrValues: ['low', 'high'],
  claims: { openid: ['sub', 'acr', 'roles', 'gln', 'cpr'] },
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, ...accounts[id] }) }),
  interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
  cookies: { keys: ['of the tests only'] },
  features: { devInteractions: { enabled: false } },
});

// The page where one would prove who one is: `as` names the account, `acr` the level that was proved.
async function interact(request, response) {
  const url = new URL(request.url, issuer);
  const { params, session, prompt } = await provider.interactionDetails(request, response);
  const wanted = url.searchParams.get('as') ?? session?.accountId;
  if (wanted === undefined || wanted === 'nobody') {
    return provider.interactionFinished(request, response, { error: 'access_denied' });
  }
  if (prompt.name === 'login') {
    const acr = url.searchParams.get('acr') ?? 'high';
    return provider.interactionFinished(request, response, { login: { accountId: wanted, acr } });
  }
  const grant = new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  grant.addOIDCScope(params.scope);
  return provider.interactionFinished(request, response, { consent: { grantId: await grant.save() } });
}

const answer = provider.callback();
server.on('request', (request, response) => {
  if (request.url.startsWith('/interaction/')) {
    interact(request, response).catch((error) => response.writeHead(500).end(String(error)));
  } else {
    answer(request, response);
  }
});
console.log(JSON.stringify({ issuer }));
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
