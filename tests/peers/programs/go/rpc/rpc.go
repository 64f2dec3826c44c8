// Command rpc is the server and the client of the tests on gRPC-Go. A planned path is the name of a method; requests and
// responses are messages of opaque bytes, several of them where the plan wants chunks.
//
//	rpc server|client OPTIONS
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"peers/calls"
)

const (
	piece  = 10_000 // bytes of a message, where there are several
	prefix = 5      // bytes that gRPC puts before each message
)

// statuses is the gRPC status that an answer of this HTTP status has.
var statuses = map[int]codes.Code{404: codes.NotFound, 500: codes.Internal}

// raw codes messages as the bytes that they are.
type raw struct{}

func (raw) Name() string                        { return "raw" }
func (raw) Marshal(message any) ([]byte, error) { return *message.(*[]byte), nil }
func (raw) Unmarshal(data []byte, message any) error {
	*message.(*[]byte) = append([]byte(nil), data...)
	return nil
}

// send sends a content as one message or, in chunks, as several; it returns their bytes with their prefixes.
func send(content []byte, chunked bool, one func(any) error) (int64, error) {
	step := len(content)
	if chunked {
		step = piece
	}
	sent := int64(0)
	for at := 0; at < len(content) || sent == 0; at += step {
		part := content[at:min(at+step, len(content))]
		if err := one(&part); err != nil {
			return sent, err
		}
		sent += int64(prefix + len(part))
	}
	return sent, nil
}

// receive reads messages to the end of the stream.
func receive(one func(any) error) (int64, error) {
	received := int64(0)
	for {
		var message []byte
		if err := one(&message); errors.Is(err, io.EOF) {
			return received, nil
		} else if err != nil {
			return received, err
		}
		received += int64(prefix + len(message))
	}
}

func server(options calls.Options) {
	log := calls.OpenLog(options.Log)
	handle := func(_ any, stream grpc.ServerStream) error {
		path, _ := grpc.MethodFromServerStream(stream)
		received, err := receive(stream.RecvMsg)
		if err != nil {
			return err
		}
		target, _ := url.Parse(path)
		wanted, content, _, chunked := calls.Answer("POST", target, path)
		code, sent := statuses[wanted], int64(0)
		if code == codes.OK {
			if sent, err = send(content, chunked, stream.SendMsg); err != nil {
				return err
			}
		}
		from, _ := peer.FromContext(stream.Context())
		number := int(code)
		log.Write(calls.Call{
			Role: "server", Method: "POST", Path: path, Status: 200, RequestSize: received, ResponseSize: sent,
			Local: calls.EndOf(from.LocalAddr), Remote: calls.EndOf(from.Addr), Protocol: "grpc",
			TLS: from.AuthInfo != nil && from.AuthInfo.AuthType() == "tls", GrpcStatus: &number,
		})
		return status.Error(code, "as planned")
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(options.Address, "0"))
	calls.Fail(err)
	serving := []grpc.ServerOption{grpc.UnknownServiceHandler(handle), grpc.ForceServerCodec(raw{})}
	if options.TLS {
		secret, err := credentials.NewServerTLSFromFile(options.Certificate, options.Key)
		calls.Fail(err)
		serving = append(serving, grpc.Creds(secret))
	}
	go func() { calls.Fail(grpc.NewServer(serving...).Serve(listener)) }()
	fmt.Println("ready", listener.Addr().(*net.TCPAddr).Port)
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func client(options calls.Options) {
	planned := calls.Read(options.Plan)
	log := calls.OpenLog(options.Log)
	base, err := url.Parse(options.Base)
	calls.Fail(err)
	secret := insecure.NewCredentials()
	if base.Scheme == "https" {
		secret, err = credentials.NewClientTLSFromFile(options.Certificate, "")
		calls.Fail(err)
	}
	to, err := grpc.NewClient(base.Host, grpc.WithTransportCredentials(secret), grpc.WithNoProxy(),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(raw{})))
	calls.Fail(err)
	fmt.Println("ready")
	calls.Line()
	calls.Drive(planned, options.Concurrency, func(request calls.Request) { call(to, log, request) })
	calls.Fail(to.Close())
}

func call(to *grpc.ClientConn, log *calls.Log, planned calls.Request) {
	description := &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}
	var from peer.Peer
	stream, err := to.NewStream(context.Background(), description, planned.Path, grpc.Peer(&from))
	calls.Fail(err)
	content := []byte(strings.Repeat(planned.Unit, planned.Size/len(planned.Unit)+1))[:planned.Size]
	sent, err := send(content, planned.Chunked, stream.SendMsg)
	calls.Fail(err)
	calls.Fail(stream.CloseSend())
	received, err := receive(stream.RecvMsg)
	number := int(status.Code(err))
	log.Write(calls.Call{
		Role: "client", Method: "POST", Path: planned.Path, Status: 200, RequestSize: sent, ResponseSize: received,
		Local: calls.EndOf(from.LocalAddr), Remote: calls.EndOf(from.Addr), Protocol: "grpc",
		TLS: from.AuthInfo != nil && from.AuthInfo.AuthType() == "tls", GrpcStatus: &number,
	})
}

func main() {
	calls.Main(map[string]func(calls.Options){"server": server, "client": client})
}
