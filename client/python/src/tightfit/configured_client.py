"""How both clients are made: one list of settings, with its types, defaults and meanings."""

from __future__ import annotations

from tightfit.settings import Settings, access_token, server_address


class ConfiguredClient:
    """Checks the settings of a client and gives them to `_set_up`."""

    def __init__(
        self,
        server: str | None = None,
        *,
        timeout: float | None = None,
        connect_timeout: float = 5.0,
        max_attempts: int = 4,
        tls: bool = False,
        root_certificates: bytes | None = None,
        certificate_chain: bytes | None = None,
        private_key: bytes | None = None,
        token: str | None = None,
        allow_plaintext_token: bool = False,
        wait_for_server: bool = False,
    ) -> None:
        """`server`: host:port or any gRPC target; default: $TIGHTFIT_SERVER, else 127.0.0.1:50051.

        timeout: seconds, the default of all calls; None: no limit
        connect_timeout: seconds that a call waits for the connection
        max_attempts: tries of a call; 1: no retries
        tls: encrypt; on by itself where certificates are given
        root_certificates: PEM of who may vouch for the server; default: gRPC's own roots
        certificate_chain, private_key: PEM, for a server that asks for a client certificate
        token: sent with every call; default: $TIGHTFIT_TOKEN
        allow_plaintext_token: also to another machine without TLS, where others may read it
        wait_for_server: where nobody listens yet, for connect_timeout; else that is told at once
        """
        self._set_up(
            Settings(
                server=server_address(server),
                timeout=timeout,
                connect_timeout=connect_timeout,
                max_attempts=max_attempts,
                tls=tls,
                root_certificates=root_certificates,
                certificate_chain=certificate_chain,
                private_key=private_key,
                token=access_token(token),
                allow_plaintext_token=allow_plaintext_token,
                wait_for_server=wait_for_server,
            )
        )

    def _set_up(self, settings: Settings) -> None:
        raise NotImplementedError
