// Command http is the server and the client of the tests on net/http.
//
//	http server|client OPTIONS
package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"

	"peers/calls"
)

const piece = 10_000 // bytes of a chunked content that are written at once

func server(options calls.Options) {
	log := calls.OpenLog(options.Log)
	handle := func(w http.ResponseWriter, r *http.Request) {
		read, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			return
		}
		status, content, gzipped, chunked := calls.Answer(r.Method, r.URL, r.RequestURI)
		header := w.Header()
		header.Set("Content-Type", "application/octet-stream")
		if status == 301 {
			header.Set("Location", "/elsewhere")
		}
		if gzipped {
			header.Set("Content-Encoding", "gzip")
		}
		if !chunked && status != 204 && status != 304 {
			header.Set("Content-Length", strconv.Itoa(len(content)))
		}
		w.WriteHeader(status)
		for at := 0; at < len(content); at += piece {
			_, _ = w.Write(content[at:min(at+piece, len(content))])
			if chunked {
				w.(http.Flusher).Flush()
			}
		}
		remote, _ := net.ResolveTCPAddr("tcp", r.RemoteAddr)
		local := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		log.Write(calls.Call{
			Role: "server", Method: r.Method, Path: r.RequestURI, Status: status, RequestSize: read,
			ResponseSize: int64(len(content)), Local: calls.EndOf(local), Remote: calls.EndOf(remote), Protocol: name(r.ProtoMajor),
			TLS: r.TLS != nil,
		})
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(options.Address, "0"))
	calls.Fail(err)
	serving := &http.Server{Handler: http.HandlerFunc(handle)}
	if options.Protocol != "h2" {
		serving.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){}
	}
	go func() {
		if options.TLS {
			calls.Fail(serving.ServeTLS(listener, options.Certificate, options.Key))
		}
		calls.Fail(serving.Serve(listener))
	}()
	fmt.Println("ready", listener.Addr().(*net.TCPAddr).Port)
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func name(major int) string {
	if major == 2 {
		return "h2"
	}
	return "http/1.1"
}

func main() {
	calls.Main(map[string]func(calls.Options){"server": server, "client": client})
}
