"""kombu's TLS transport for RabbitMQ, with each node's certificate checked against that node's own name.

kombu checks a certificate's name only if a name is configured, and then uses the first node's name for all nodes.
"""

from typing import Any

from kombu.transport import pyamqp


class Transport(pyamqp.SSLTransport):
    def establish_connection(self) -> Any:
        client: Any = self.client
        hostname, options = client.hostname, client.ssl
        if options["cert_reqs"]:  # py-amqp cannot send a name that it does not check.
            client.ssl = {**options, "server_hostname": hostname}
        try:
            return super().establish_connection()
        finally:
            client.hostname = hostname  # kombu has replaced localhost by 127.0.0.1, and would check that next time.
