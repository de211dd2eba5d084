// Reads cases of the HorizontalPodAutoscaler, and writes them with the answers of Kubernetes' own code.
package main

import (
	"log"
	"os"

	"hookline/tests/cluster/tools/podautoscaler"
)

func main() {
	if err := podautoscaler.Answers(os.Stdin, os.Stdout); err != nil {
		log.Fatal(err)
	}
}
