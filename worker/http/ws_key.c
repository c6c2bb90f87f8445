/*
 * ws_key.c - the handshake of WebSocket over HTTP/1.1 (RFC 6455 4.1).
 *
 * Called by the codec towards servers.
 */
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <string.h>

#include "worker/http/ws_key.h"

bool ws_key_missing(const struct head *req)
{
	return req->tunnel && span_caseeq(req->upgrade_to, SPAN("websocket")) &&
	       head_find(req, SPAN("Sec-WebSocket-Key")).p == NULL;
}

void ws_key_make(const unsigned char random[WS_KEY_RANDOM], char key[WS_KEY_LEN + 1])
{
	EVP_EncodeBlock((unsigned char *)key, random, WS_KEY_RANDOM);
}

void ws_key_accept(const char key[WS_KEY_LEN], char accept[WS_ACCEPT_LEN + 1])
{
	static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
	unsigned char text[WS_KEY_LEN + sizeof(guid) - 1], sum[SHA_DIGEST_LENGTH];

	memcpy(text, key, WS_KEY_LEN);
	memcpy(text + WS_KEY_LEN, guid, sizeof(guid) - 1);
	SHA1(text, sizeof(text), sum);
	EVP_EncodeBlock((unsigned char *)accept, sum, sizeof(sum));
}

bool ws_key_proven(const struct head *resp, struct span accept)
{
	return span_eq(head_find(resp, SPAN("Sec-WebSocket-Accept")), accept);
}
