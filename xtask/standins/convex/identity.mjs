// Validates JSON web tokens of the providers in auth.config.
import crypto from "node:crypto";

function part(text) {
  return JSON.parse(Buffer.from(text, "base64url").toString());
}

async function fetchJson(url) {
  const response = await fetch(url, { signal: AbortSignal.timeout(5000) });
  if (!response.ok) throw new Error(`${url} answered ${response.status}`);
  return response.json();
}

async function keysOf(provider) {
  if (provider.type === "customJwt" || provider.jwks?.startsWith("data:")) return fetchJson(provider.jwks);
  const discovery = await fetchJson(`${provider.domain.replace(/\/$/, "")}/.well-known/openid-configuration`);
  return fetchJson(discovery.jwks_uri);
}

// The identity of a token, or an error with the reason.
export async function identityOf(token, providers) {
  const parts = token.split(".");
  if (parts.length !== 3) throw new Error("Could not parse as id token");
  const [header, claims] = [part(parts[0]), part(parts[1])];
  const provider = providers.find((one) => (one.issuer ?? one.domain).replace(/\/$/, "") === claims.iss?.replace(/\/$/, "")
    && (!one.applicationID || [claims.aud].flat().includes(one.applicationID)));
  if (!provider) throw new Error(`No auth provider found matching the given token (issuer ${claims.iss}). Check that your server and client configs match`);
  const { keys } = await keysOf(provider);
  const key = keys.find(({ kid }) => !header.kid || !kid || kid === header.kid);
  if (!key) throw new Error("Could not find the key of the token");
  const signed = Buffer.from(`${parts[0]}.${parts[1]}`);
  const options = { RS256: {}, ES256: { dsaEncoding: "ieee-p1363" } }[header.alg];
  if (!options || !crypto.verify("sha256", signed, { key: crypto.createPublicKey({ key, format: "jwk" }), ...options }, Buffer.from(parts[2], "base64url"))) {
    throw new Error("Could not verify the token's signature");
  }
  if (claims.exp !== undefined && claims.exp * 1000 < Date.now()) throw new Error("Token expired");
  return { ...claims, issuer: claims.iss, subject: claims.sub, tokenIdentifier: `${claims.iss}|${claims.sub}`, expires: claims.exp * 1000 };
}
