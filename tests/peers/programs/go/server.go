package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
)

const piece = 10_000 // bytes of a chunked content that are written at once

func server(options Options) {
	log := openLog(options.Log)
	handle := func(w http.ResponseWriter, r *http.Request) {
		read, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			return
		}
		status, content, gzipped, chunked := answer(r.Method, r.URL, r.RequestURI)
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
		log.write(Call{
			Role: "server", Method: r.Method, Path: r.RequestURI, Status: status, RequestSize: read,
			ResponseSize: int64(len(content)), Local: end(local), Remote: end(remote), Protocol: name(r.ProtoMajor),
			TLS: r.TLS != nil,
		})
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(options.Address, "0"))
	fail(err)
	serving := &http.Server{Handler: http.HandlerFunc(handle)}
	if options.Protocol != "h2" {
		serving.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){}
	}
	go func() {
		if options.TLS {
			fail(serving.ServeTLS(listener, options.Certificate, options.Key))
		}
		fail(serving.Serve(listener))
	}()
	fmt.Println("ready", listener.Addr().(*net.TCPAddr).Port)
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func min(a, b int) int {
	if a < b {
		return a
	}
	return b
}

func name(major int) string {
	if major == 2 {
		return "h2"
	}
	return "http/1.1"
}
