// The other server: one RSA key of 2048 bits, as by its own example, on a free port of the loopback.
import { OAuth2Server } from 'oauth2-mock-server';

const server = new OAuth2Server();
await server.issuer.keys.generate('RS256');
await server.start(0, '127.0.0.1');
console.log(`http://127.0.0.1:${server.address().port}`);
process.on('SIGTERM', () => server.stop());
