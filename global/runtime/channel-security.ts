import { createServer, type RequestListener, type Server } from 'node:http';
import { ChannelCredentials, ServerCredentials } from '@grpc/grpc-js';

/**
 * Where every listener and every channel gets its credentials: one place, so that TLS with identities (Se2) is one more
 * implementation of this and nothing else changes.
 */
export interface ChannelSecurity {
  grpcServer(): ServerCredentials;
  grpcChannel(): ChannelCredentials;
  httpServer(listener: RequestListener): Server;
}

/** No transport security: for loopback and for networks that bring their own. */
export const plaintext: ChannelSecurity = {
  grpcServer: () => ServerCredentials.createInsecure(),
  grpcChannel: () => ChannelCredentials.createInsecure(),
  httpServer: (listener) => createServer(listener),
};

/** Where a listener binds. Port 0 takes a free one. */
export interface ListenAddress {
  readonly host: string;
  readonly port: number;
}
